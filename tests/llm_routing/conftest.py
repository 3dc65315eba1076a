"""What the tests of the providers share."""

from __future__ import annotations

import pytest

from llm_routing.providers.ollama import OllamaProvider
from llm_routing.providers.transport import Transport
from llm_routing.types import CompletionRequest, Limits, Message, Parameters
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.server import FakeServer

LIMITS = Limits(connect_s=1, first_token_s=2, idle_s=2, total_s=4)


def make_request(content: str = "Hi", **parameters) -> CompletionRequest:
    return CompletionRequest("m", (Message("user", content),), Parameters(**parameters))


@pytest.fixture
def limits() -> Limits:
    return LIMITS


@pytest.fixture
def fake_ollama():
    with FakeOllama() as server:
        yield server


@pytest.fixture
def fake_openai():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def server():
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def ollama(fake_ollama):
    return OllamaProvider(Transport(fake_ollama.url))


@pytest.fixture
def ollama_complete(fake_ollama, ollama, limits):
    """Answer the next request with a script, and give the completion of it."""

    def run(script, **parameters):
        fake_ollama.enqueue(script)
        return ollama.complete(make_request(**parameters), limits=limits)

    return run
