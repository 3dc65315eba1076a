"""Pulling a model, over a real web server, from a fake Ollama on a real socket."""

from __future__ import annotations

import json

import pytest
import requests
from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite.audit.models import AuditEvent
from llm_routing import pulling
from llm_routing.models import Endpoint, RegisteredModel
from tests import factories
from tests.experiments.conftest import wait_for
from tests.fakes.ollama import FakeOllama, model, refusal, stream
from tests.fakes.server import Cut, Pause, json_script

pytestmark = pytest.mark.django_db(transaction=True)
MANIFEST, SUCCESS = {"status": "pulling manifest"}, {"status": "success"}


def layer(digest, total, completed=None):
    """One line about a layer; Ollama leaves `completed` out while it is 0."""
    done = {} if completed is None else {"completed": completed}
    return {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total, **done}


@pytest.fixture(autouse=True)
def everything_is_told(monkeypatch, settings):
    monkeypatch.setattr(pulling, "TOLD_EVERY_S", 0)
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def provider(org, fake_ollama):
    return factories.make_model("old:1b", base_url=fake_ollama.url, org=org, slug="own").provider


@pytest.fixture
def pull(site, org, alice, provider):
    """Start a pull as somebody; the answer as it streams."""

    def start(name="llama3.2:1b", *, actor=alice, of=provider, **more):
        return requests.post(
            f"{site.url}/api/v1/orgs/{org.pk}/providers/{of.pk}/pull",
            json={"modelName": name, **more},
            headers={"Authorization": f"Bearer {RefreshToken.for_user(actor).access_token}"},
            timeout=20,
            stream=True,
        )

    return start


def events(response):
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/event-stream")
    block = []
    for text in response.iter_lines(chunk_size=1, decode_unicode=True):
        if text:
            block.append(text.split(": ", 1)[1])
        elif block:
            yield block[0], json.loads(block[1])
            block = []


def ended():
    return AuditEvent.objects.filter(event="model.pull.ended").first()


def test_progress_adds_the_layers_up_and_the_registry_knows_the_model(pull, fake_ollama, org, alice):
    fake_ollama.enqueue(
        stream(
            MANIFEST,
            layer("aaa", 1_000),
            layer("aaa", 1_000, 400),
            layer("bbb", 50, 50),
            layer("aaa", 1_000, 1_000),
            {"status": "verifying sha256 digest"},
            {"status": "writing manifest"},
            SUCCESS,
        ),
        json_script({"models": [model("llama3.2:1b", context_length=131_072)]}),
    )
    *steps, (name, done) = events(pull())
    assert fake_ollama.requests[0].body == {"model": "llama3.2:1b", "stream": True}
    told = [(step["status"], step["completedBytes"], step["totalBytes"]) for _, step in steps]
    assert told == [
        ("pulling manifest", None, None),
        ("pulling aaa", 0, 1_000),
        ("pulling aaa", 400, 1_000),
        ("pulling bbb", 450, 1_050),
        ("pulling aaa", 1_050, 1_050),
        ("verifying sha256 digest", 1_050, 1_050),
        ("writing manifest", 1_050, 1_050),
        ("success", 1_050, 1_050),
    ]
    assert {(kind, step["endpoint"], step["endpoints"]) for kind, step in steps} == {("progress", 1, 1)}
    assert name == "done"
    assert done == {"modelName": "llama3.2:1b", "added": ["llama3.2:1b"], "updated": [], "gone": ["old:1b"]}
    assert RegisteredModel.objects.get(name="llama3.2:1b").size_bytes == 4_700_000_000
    told = list(AuditEvent.objects.order_by("id").values_list("event", "actor", "org"))
    assert told == [(f"model.pull.{word}", alice.pk, org.pk) for word in ("started", "ended")]
    assert ended().after["outcome"] == "SUCCEEDED"


def test_every_endpoint_gets_the_model(pull, fake_ollama, provider):
    with FakeOllama() as second:
        Endpoint.objects.create(provider=provider, base_url=second.url)
        Endpoint.objects.create(provider=provider, base_url="http://127.0.0.1:9", enabled=False)
        got = list(events(pull()))
        assert [seen.path for seen in second.requests] == ["/api/pull", "/api/tags"]
    numbers = [(step["endpoint"], step["endpoints"]) for kind, step in got if kind == "progress"]
    assert numbers == [(1, 2), (1, 2), (2, 2), (2, 2)]
    assert got[-1][0] == "done"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (
            stream(MANIFEST, {"error": "pull model manifest: file does not exist"}),
            "MODEL_NOT_FOUND",
            "no model",
        ),
        (
            stream(MANIFEST, layer("a", 9, 5), {"error": "no space left on device"}),
            "PROVIDER_ERROR",
            "no space",
        ),
        (stream(MANIFEST, layer("a", 9, 9)), "PROVIDER_ERROR", "before the server said"),
        (stream(MANIFEST, layer("a", 9, 5), Cut()), "PROVIDER_ERROR", "broke in the middle"),
        (refusal(400, "invalid model name"), "PROVIDER_ERROR", "invalid model name"),
        (stream(MANIFEST, b"<html>\n"), "PROVIDER_ERROR", ""),
    ],
)
def test_what_goes_wrong_is_an_error_event_and_no_success(pull, fake_ollama, script, code, words):
    fake_ollama.enqueue(script)
    got = list(events(pull()))
    kind, problem = got[-1]
    assert (kind, problem["error"]) == ("error", code)
    assert words in problem["details"]["message"]
    assert "done" not in [name for name, _ in got]
    assert [seen.path for seen in fake_ollama.requests] == ["/api/pull"]
    assert ended().after["outcome"] == code
    assert list(RegisteredModel.objects.values_list("name", flat=True)) == ["old:1b"]


def test_a_client_that_leaves_stops_the_download(pull, fake_ollama):
    fake_ollama.enqueue(stream(MANIFEST, layer("a", 9, 5), Pause()))
    response = pull()
    coming = events(response)
    assert [next(coming)[0], next(coming)[0]] == ["progress", "progress"]
    response.close()
    seen = fake_ollama.requests[0]
    assert fake_ollama.wait_until_left(seen) < 5
    assert wait_for(ended).after["outcome"] == "CANCELLED"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "-x",
        "a:b:c",
        "a/b/c/d",
        "http://evil/x",
        "../etc",
        "a\nb",
        "a?b",
        "ä",
        "x" * 257,
        "x:",
        7,
        None,
    ],
)
def test_what_is_no_name_of_a_model_is_400(pull, fake_ollama, name):
    response = pull(name)
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")
    assert list(response.json()["details"]) == ["modelName"]
    assert fake_ollama.requests == []


@pytest.mark.parametrize(
    "name", ["m", "llama3.2:1b", "user/model", "user/model:q4_K_M", "hf.co/a/b:Q8_0", "host:5000/a/b:c"]
)
def test_names_of_models_are_passed_on(pull, fake_ollama, name):
    assert list(events(pull(name)))[-1][1]["modelName"] == name
    assert fake_ollama.requests[0].body["model"] == name


def test_other_kinds_do_not_pull(pull, org):
    other = factories.make_model(org=org, slug="vllm", kind="openai_compatible").provider
    response = pull(of=other)
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")


def test_who_may_pull(pull, org, provider, fake_ollama, charlie):
    shared = factories.make_model(base_url=fake_ollama.url).provider
    foreign = factories.make_model(org=factories.make_org(), slug="theirs").provider
    editor = factories.make_user(org=org, role="editor")
    root = factories.make_user(is_superuser=True)
    assert pull(actor=editor).json()["details"]["permission"] == "org:models:write"
    assert pull(of=shared).json()["error"] == "FORBIDDEN"
    assert pull(of=foreign).json()["error"] == "PROVIDER_NOT_FOUND"
    assert pull(actor=charlie).json()["error"] == "ORG_NOT_FOUND"
    assert fake_ollama.requests == []
    assert list(events(pull(of=shared, actor=root)))[-1][0] == "done"


def test_an_address_that_is_private_now_is_not_asked(pull, fake_ollama, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = []
    ((kind, problem),) = events(pull())
    assert (kind, problem["error"]) == ("error", "PROVIDER_ERROR")
    assert fake_ollama.requests == []


def test_a_server_that_never_stops_naming_layers_is_left(pull, fake_ollama, monkeypatch):
    monkeypatch.setattr(pulling, "MOST_LAYERS", 3)
    fake_ollama.enqueue(stream(MANIFEST, *[layer(f"l{number}", 1) for number in range(5)], SUCCESS))
    kind, problem = list(events(pull()))[-1]
    assert (kind, "layers" in problem["details"]["message"]) == ("error", True)


def test_progress_is_told_a_few_times_a_second(pull, fake_ollama, monkeypatch):
    monkeypatch.setattr(pulling, "TOLD_EVERY_S", 60)
    fake_ollama.enqueue(stream(MANIFEST, *[layer("a", 500, number) for number in range(500)], SUCCESS))
    steps = [step["status"] for kind, step in events(pull()) if kind == "progress"]
    assert steps == ["pulling manifest", "pulling a", "success"]
