"""The real embedded engine: it starts, answers, refuses what does not fit, and goes with its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from llm_routing import embedded
from llm_routing.embedded import EmbeddedModelMissing, EmbeddedServer
from llm_routing.errors import Cancelled, PromptTooLong, ProviderUnavailable
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.openai_compatible import OpenAICompatibleProvider
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits
from tests.llm_routing.conftest import make_request

LIMITS = Limits()


def why_missing() -> str:
    try:
        embedded.require_fit_machine()
        embedded.weights()
    except EmbeddedModelMissing as error:
        return str(error)
    return ""


needs_engine = [pytest.mark.embedded, pytest.mark.skipif(bool(why_missing()), reason=why_missing())]


@pytest.fixture(scope="session")
def engine():
    with EmbeddedServer(context=256) as server:
        yield server


@pytest.fixture
def provider(engine):
    return OpenAICompatibleProvider(Transport(engine.base_url))


class TestEngine:
    pytestmark = needs_engine

    def test_answers_with_tokens_and_timings(self, provider):
        completion = provider.complete(
            make_request("Say hello", max_tokens=8, temperature=0.0), limits=LIMITS
        )
        assert completion.content
        assert completion.output_tokens <= 8
        assert completion.input_tokens > 5
        assert completion.timings.decode_ms > 0
        assert not completion.may_be_cut

    def test_same_seed_same_answer(self, provider):
        request = make_request("Tell me a story", max_tokens=8, seed=7, temperature=1.0)
        first, second = (provider.complete(request, limits=LIMITS).content for _ in range(2))
        assert first == second

    def test_tells_its_name_and_the_context_of_each_slot(self, provider):
        [model] = provider.list_models(limits=LIMITS)
        assert (model.name, model.context_tokens) == (embedded.MODEL_NAME, 256)

    def test_prompt_that_does_not_fit_is_refused(self, provider):
        with pytest.raises(PromptTooLong) as caught:
            provider.complete(make_request("word " * 600), limits=LIMITS)
        assert caught.value.details["contextTokens"] == 256
        assert caught.value.details["promptTokens"] > 600

    def test_answer_ends_where_the_context_does(self, provider):
        completion = provider.complete(make_request("word " * 215, temperature=0.0), limits=LIMITS)
        assert completion.input_tokens + completion.output_tokens <= 257

    def test_json_schema_is_kept_to(self, provider):
        schema = {"enum": ["positive", "negative"]}
        request = make_request(
            "I love it. Positive or negative?", max_tokens=8, temperature=0.0, format=schema
        )
        assert provider.complete(request, limits=LIMITS).content in ('"positive"', '"negative"')

    def test_cancel_frees_it_at_once(self, provider):
        handle = CallHandle()
        threading.Timer(0.3, handle.cancel).start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            provider.complete(make_request("Tell a long story", max_tokens=400), limits=LIMITS, handle=handle)
        assert time.monotonic() - started < 3

    def test_stops_at_once_and_then_is_gone(self):
        with EmbeddedServer(context=256, slots=1) as server:
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < embedded.STOP_LIMIT_S + 3
            server.stop()
        with pytest.raises(ProviderUnavailable):
            OpenAICompatibleProvider(Transport(server.base_url)).list_models(limits=LIMITS)

    def test_ends_when_its_parent_is_killed(self):
        code = (
            "import time; from llm_routing.embedded import EmbeddedServer;"
            "print(EmbeddedServer(context=256, slots=1).start().base_url, flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
            url = parent.stdout.readline().strip()
            os.kill(parent.pid, signal.SIGKILL)
        end = time.monotonic() + 3
        while serves(url) and time.monotonic() < end:
            time.sleep(0.05)
        assert not serves(url)

    def test_outlives_the_thread_that_started_it(self):
        server = EmbeddedServer(context=256, slots=1)
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        time.sleep(0.2)
        try:
            assert serves(server.base_url)
        finally:
            server.stop()

    def test_port_in_use_is_said_in_words(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = EmbeddedServer(port=taken.getsockname()[1])
            with pytest.raises(EmbeddedModelMissing, match="in use"):
                server.start()


def test_missing_engine_is_said_in_words(monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedModelMissing, match="not installed"):
        embedded.require_fit_machine()
    with pytest.raises(EmbeddedModelMissing, match="not installed"):
        embedded.weights()


@pytest.mark.parametrize(("flags", "fits"), [("fpu avx avx2 sse", True), ("fpu avx sse", False)])
def test_processor_without_avx2_is_said_in_words(monkeypatch, tmp_path, flags, fits):
    monkeypatch.setattr(embedded, "find_spec", lambda _: object())
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    if fits:
        embedded.require_fit_machine(cpuinfo)
        return
    with pytest.raises(EmbeddedModelMissing, match="AVX2"):
        embedded.require_fit_machine(cpuinfo)


def serves(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1):
            return True
    except OSError:
        return False
