"""An org's provider is checked again at the moment of connecting: names move, servers redirect."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from evalsuite.errors import EvalsuiteError
from llm_routing import registry, routing
from llm_routing.errors import BadProviderRequest
from llm_routing.types import CompletionRequest, Message
from tests import factories
from tests.fakes.ollama import FakeOllama

# Each has led to this very machine somewhere.
LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.01",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
]
METADATA = ["169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"]


@pytest.fixture
def canary():
    with FakeOllama() as server:
        yield server


@pytest.fixture(autouse=True)
def new_clients():
    routing._client.cache_clear()
    yield
    routing._client.cache_clear()


def call(model):
    request = CompletionRequest(model.name, (Message("user", "hi"),))
    return routing.whole(routing.stream(routing.target_for(model), request, wait_s=1))


@pytest.mark.parametrize("host", LOOPBACK)
def test_no_spelling_of_loopback_is_reached(org, canary, host):
    base_url = canary.url.replace("127.0.0.1", host)
    model = factories.make_model(base_url=base_url, org=org, slug="own")
    with pytest.raises(EvalsuiteError):
        call(model)
    with pytest.raises(EvalsuiteError):
        registry.sync_provider(model.provider)
    assert canary.requests == []


@pytest.mark.parametrize("host", LOOPBACK + METADATA)
def test_no_spelling_is_taken_by_the_api(api, org, canary, host):
    places = [{"baseUrl": canary.url.replace("127.0.0.1", host)}]
    body = {"slug": "own", "name": "Own", "kind": "ollama", "endpoints": places}
    answer = api.post(f"/api/v1/orgs/{org.pk}/providers", body, format="json")
    assert answer.status_code == 400
    assert "endpoints.0.baseUrl" in answer.json()["details"]
    assert canary.requests == []


@pytest.mark.parametrize("host", METADATA)
def test_no_network_that_the_operator_opens_opens_metadata(org, settings, host):
    settings.PRIVATE_PROVIDER_NETWORKS = ["0.0.0.0/0", "::/0"]
    with pytest.raises(BadProviderRequest, match="metadata"):
        call(factories.make_model(base_url=f"http://{host}:80", org=org, slug="own"))


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["203.0.114.7", "127.0.0.1"], ["::1"]])
def test_a_name_that_moved_to_loopback_is_not_followed(org, canary, monkeypatch, answers):
    real = socket.getaddrinfo

    def moved(host, port, *args, **kwargs):
        if host != "models.example":
            return real(host, port, *args, **kwargs)
        return [entry for number in answers for entry in real(number, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", moved)
    base_url = canary.url.replace("127.0.0.1", "models.example")
    with pytest.raises(BadProviderRequest, match="private network"):
        call(factories.make_model(base_url=base_url, org=org, slug="own"))
    assert canary.requests == []


def test_a_name_that_changes_between_two_looks_is_not_followed(org, canary, monkeypatch):
    real = socket.getaddrinfo
    looks = []

    def rebound(host, port, *args, **kwargs):
        if host != "models.example":
            return real(host, port, *args, **kwargs)
        looks.append(host)
        return real("203.0.114.7" if len(looks) == 1 else "127.0.0.1", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    base_url = canary.url.replace("127.0.0.1", "models.example")
    registry.addresses.require_allowed(base_url, [])  # when it is saved, the name is innocent
    with pytest.raises(BadProviderRequest, match="private network"):
        call(factories.make_model(base_url=base_url, org=org, slug="own"))
    assert len(looks) == 2
    assert canary.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_loopback_is_not_followed(org, canary, settings, status):
    asked = []

    class Redirecting(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def redirect(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Location", f"{canary.url}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = redirect

    # The operator has opened the redirecting server's address, and no other.
    server = ThreadingHTTPServer(("127.0.0.2", 0), Redirecting)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.2/32"]
    try:
        model = factories.make_model(base_url=f"http://127.0.0.2:{server.server_port}", org=org, slug="own")
        with pytest.raises(BadProviderRequest, match="redirects"):
            call(model)
        with pytest.raises(BadProviderRequest, match="redirects"):
            registry.sync_provider(model.provider)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["/api/chat", "/api/tags"]
    assert canary.requests == []


def test_networks_that_the_operator_opened_and_shared_providers_are_reached(org, canary, settings):
    assert call(factories.make_model(base_url=canary.url)).content == "Hello"
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    routing._client.cache_clear()
    assert call(factories.make_model(base_url=canary.url, org=org, slug="own")).content == "Hello"
