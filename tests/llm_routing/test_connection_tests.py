"""Is a provider there, and if not why: every answer on a real socket, in words and without the key."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing

import pytest
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from llm_routing import diagnosis
from llm_routing.models import Endpoint
from llm_routing.types import Limits
from tests import factories
from tests.fakes.ollama import FakeOllama, model, refusal
from tests.fakes.openai import FakeOpenAI
from tests.fakes.server import Cut, FakeServer, Pause, Script, json_script

KEY = "sk-very-secret"
HTML = {"content_type": "text/html"}


@pytest.fixture(autouse=True)
def loopback_is_open(settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def examine(api, org, monkeypatch):
    """Test a provider of the org's own at these addresses; what the API tells of each."""
    monkeypatch.setattr(diagnosis, "LIMITS", Limits(connect_s=0.5, first_token_s=0.5, idle_s=0.5, total_s=2))

    def ask(*addresses, kind="ollama", key=KEY):
        provider = factories.make_model(base_url=addresses[0], org=org, slug="own", kind=kind).provider
        provider.api_key = key
        provider.save()
        for address in addresses[1:]:
            Endpoint.objects.create(provider=provider, base_url=address)
        response = api.post(f"/api/v1/orgs/{org.pk}/providers/{provider.pk}/test")
        assert response.status_code == 200, response.json()
        assert KEY not in response.content.decode()
        body = response.json()
        assert body["ok"] is all(one["ok"] for one in body["endpoints"])
        return body["endpoints"]

    return ask


def only(found):
    (one,) = found
    return one


def test_an_ollama_tells_its_version_and_how_many_models_it_has(examine, fake_ollama):
    one = only(examine(fake_ollama.url))
    assert (one["ok"], one["finding"], one["version"], one["models"]) == (True, "ok", "0.33.0", 1)
    assert one["message"] == "Reachable: Ollama 0.33.0 with 1 model."
    assert one["latencyMs"] >= 0
    assert [seen.path for seen in fake_ollama.requests] == ["/api/version", "/api/tags"]
    assert fake_ollama.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("listed", [[], None])
def test_one_without_models_is_reachable_and_says_so(examine, fake_ollama, listed):
    fake_ollama.enqueue(json_script({"version": "0.33.0"}), json_script({"models": listed}))
    one = only(examine(fake_ollama.url))
    assert (one["ok"], one["finding"], one["models"]) == (True, "no_models", 0)
    assert "Pull one" in one["message"]


def test_an_openai_compatible_server_is_reachable(examine, fake_openai):
    fake_openai.enqueue(json_script({"data": [{"id": "a"}, {"id": "b"}]}))
    one = only(examine(fake_openai.url, kind="openai_compatible"))
    assert (one["finding"], one["models"], one["version"]) == ("ok", 2, None)


def test_a_closed_port_refuses(examine):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    one = only(examine(address))
    assert (one["ok"], one["finding"], one["latencyMs"]) == (False, "refused", None)
    assert "nothing listens" in one["message"]


def test_a_name_that_nobody_knows(examine):
    one = only(examine("http://no-such-host.invalid:11434"))
    assert one["finding"] == "name_unknown"
    assert "no-such-host.invalid:11434 cannot be looked up" in one["message"]


def test_a_private_address_that_nobody_opened(examine, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = []
    with FakeOllama() as fake:
        one = only(examine(fake.url))
        assert fake.requests == []
    assert one["finding"] == "address_not_allowed"
    assert "Ask the operator" in one["message"]


def test_a_port_that_takes_no_connection_times_out(examine):
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        time.sleep(0.05)
        one = only(examine(f"http://127.0.0.1:{address[1]}"))
        for filler in fillers:
            filler.close()
    assert one["finding"] == "timeout"


def test_a_server_that_says_nothing_times_out(examine, server):
    server.enqueue(Script(before=[Pause()]))
    one = only(examine(server.url))
    assert one["finding"] == "timeout"
    assert "does not answer within 0.5 s" in one["message"]


def test_https_at_a_server_that_speaks_http(examine):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        one = only(examine(f"https://127.0.0.1:{listener.getsockname()[1]}"))
    assert one["finding"] == "tls"


@pytest.mark.parametrize(
    ("script", "finding", "words"),
    [
        (refusal(401, f"bad key {KEY}"), "key_refused", "refuses our key"),
        (Script([], status=403), "key_refused", "refuses our key"),
        (Script(status=302, headers={"Location": "http://elsewhere/"}), "redirect", "redirects"),
        (refusal(500, f"broke with {KEY}"), "failed", "***"),
        (refusal(503, "server busy, please try again"), "overloaded", "too much to do"),
        (Script(before=[Cut()]), "closed", "closes it unanswered"),
        (Script([b'{"vers', Cut()]), "closed", "breaks off"),
    ],
)
def test_what_a_server_may_answer_instead(examine, fake_ollama, script, finding, words):
    fake_ollama.enqueue(script)
    one = only(examine(fake_ollama.url))
    assert (one["ok"], one["finding"]) == (False, finding)
    assert words in one["message"]


def test_a_key_that_is_missing_is_told_from_a_wrong_one(examine, fake_ollama):
    fake_ollama.enqueue(refusal(401, "unauthorized"))
    assert "none is set" in only(examine(fake_ollama.url, key=""))["message"]


@pytest.mark.parametrize(
    "script",
    [
        Script([b"<!doctype html><title>Hello</title>"], **HTML),
        Script([b"Ollama is running"], content_type="text/plain"),
        json_script(["no", "object"]),
        json_script({"hello": "world"}),
    ],
)
def test_somebody_else_answers(examine, server, script):
    server.enqueue(script)
    one = only(examine(server.url))
    assert one["finding"] == "wrong_server"
    assert "no Ollama" in one["message"]


def test_an_openai_compatible_server_where_an_ollama_is_expected(examine):
    with FakeOpenAI() as fake:
        fake.enqueue(Script([b"not found"], status=404), json_script({"data": [{"id": "a"}]}))
        one = only(examine(fake.url))
    assert one["finding"] == "wrong_path"
    assert one["message"].endswith("choose that kind.")


@pytest.mark.parametrize("path", ["/v1", "/api"])
def test_an_ollama_address_that_goes_too_far(examine, fake_ollama, path):
    one = only(examine(f"{fake_ollama.url}{path}"))
    assert one["finding"] == "wrong_path"
    assert "ends before /api and /v1" in one["message"]


def test_each_endpoint_has_its_own_answer(examine, fake_ollama):
    with FakeServer() as other:
        other.enqueue(Script([b"no"], content_type="text/plain"))
        found = examine(fake_ollama.url, other.url)
    assert [one["finding"] for one in found] == ["ok", "wrong_server"]


def test_an_older_list_is_not_asked_model_by_model(examine, fake_ollama):
    fake_ollama.enqueue(json_script({"version": "0.1"}), json_script({"models": [model("a"), model("b")]}))
    assert only(examine(fake_ollama.url))["models"] == 2
    assert len(fake_ollama.requests) == 2


def test_a_shared_provider_is_for_the_operator_alone(api, org, fake_ollama):
    provider = factories.make_model(base_url=fake_ollama.url).provider
    url = f"/api/v1/orgs/{org.pk}/providers/{provider.pk}/test"
    assert api.post(url).status_code == 403
    assert fake_ollama.requests == []
    root = APIClient()
    root.force_authenticate(factories.make_user(is_superuser=True))
    assert root.post(url).json()["ok"] is True


def test_editors_test_nothing_and_foreign_providers_are_not_there(api, org):
    own = factories.make_model(org=org, slug="own").provider
    foreign = factories.make_model(org=factories.make_org(), slug="theirs").provider
    editor = APIClient()
    editor.force_authenticate(factories.make_user(org=org, role="editor"))
    response = editor.post(f"/api/v1/orgs/{org.pk}/providers/{own.pk}/test")
    assert (response.status_code, response.json()["details"]["permission"]) == (403, "org:models:write")
    response = api.post(f"/api/v1/orgs/{org.pk}/providers/{foreign.pk}/test")
    assert (response.status_code, json.loads(response.content)["error"]) == (404, "PROVIDER_NOT_FOUND")
