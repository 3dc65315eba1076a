"""An org's provider is checked again at the moment of connecting: names move, spellings vary."""

from __future__ import annotations

import socket

import pytest

from llm_routing import registry, routing
from llm_routing.errors import BadProviderRequest
from llm_routing.types import CompletionRequest, Message
from tests import factories
from tests.fakes.ollama import FakeOllama

SPELLINGS = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"]


@pytest.fixture
def canary():
    with FakeOllama() as server:
        yield server


def call(model):
    request = CompletionRequest(model.name, (Message("user", "hi"),))
    return routing.whole(routing.stream(routing.target_for(model), request, wait_s=1))


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_loopback_is_reached(org, canary, host):
    base_url = canary.url.replace("127.0.0.1", host)
    model = factories.make_model(base_url=base_url, org=org, slug="own")
    with pytest.raises(BadProviderRequest):
        call(model)
    with pytest.raises(BadProviderRequest):
        registry.sync_provider(model.provider)
    assert canary.requests == []


def test_a_name_that_moved_to_loopback_is_not_followed(org, canary, monkeypatch):
    real = socket.getaddrinfo

    def moved(host, *args, **kwargs):
        return real("127.0.0.1" if host == "models.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", moved)
    base_url = canary.url.replace("127.0.0.1", "models.example")
    with pytest.raises(BadProviderRequest, match="private network"):
        call(factories.make_model(base_url=base_url, org=org, slug="own"))
    assert canary.requests == []


def test_networks_that_the_operator_opened_and_shared_providers_are_reached(org, canary, settings):
    assert call(factories.make_model(base_url=canary.url)).content == "Hello"
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    routing._client.cache_clear()
    assert call(factories.make_model(base_url=canary.url, org=org, slug="own")).content == "Hello"
    routing._client.cache_clear()
