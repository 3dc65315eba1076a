"""What each failure of an Ollama becomes, and answers that are none."""

from __future__ import annotations

import json
import threading
import time

import pytest

from llm_routing.errors import (
    AnswerTooLarge,
    BadProviderRequest,
    BrokenStream,
    Cancelled,
    InvalidAnswer,
    ModelNotFound,
    PromptTooLong,
    ProviderError,
    ProviderOverloaded,
    ProviderTimeout,
    ProviderUnavailable,
)
from llm_routing.providers.answers import Text
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.ollama import OllamaProvider
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits
from tests.fakes.ollama import answer, last, line, piece, refusal, stream
from tests.fakes.server import Cut, Pause, Script, json_script
from tests.llm_routing.conftest import make_request

INNER = (
    '{"error":{"code":400,"message":"request (931 tokens) exceeds the available context size (512 tokens)"}}'
)
SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}


REFUSALS = [
    (400, "invalid model name", BadProviderRequest, True),
    (400, '"m" does not support thinking', BadProviderRequest, True),
    (401, "unauthorized", BadProviderRequest, True),
    (403, "cloud is disabled", BadProviderRequest, True),
    (404, "model 'm' not found", ModelNotFound, True),
    (404, 'model "m" not found, try pulling it first', ModelNotFound, True),
    (408, "timeout", ProviderUnavailable, False),
    (429, "rate limit", ProviderOverloaded, False),
    (500, 'option "temperature" must be of type float32', BadProviderRequest, True),
    (500, "invalid format: 7; expected json", BadProviderRequest, True),
    (500, "model runner has unexpectedly stopped", ProviderError, False),
    (500, "model requires more system memory (9 GiB) than is available", ProviderError, False),
    (502, "remote host unreachable", ProviderUnavailable, False),
    (503, "server busy, please try again.  maximum pending requests exceeded", ProviderOverloaded, False),
    (503, "loading", ProviderUnavailable, False),
]


@pytest.mark.parametrize(("status", "text", "kind", "permanent"), REFUSALS)
def test_refusals(ollama_complete, status, text, kind, permanent):
    with pytest.raises(ProviderError) as caught:
        ollama_complete(refusal(status, text))
    assert type(caught.value) is kind
    assert caught.value.permanent is permanent


TOO_LONG = [
    (400, INNER, 931, 512),
    (500, json.dumps({"error": INNER}), 931, 512),
    (400, {"message": "no", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}, 9, 8),
    (400, "the input length exceeds the context length", None, None),
    (400, "maximum context length is 4,096 tokens, you requested 5,310 tokens", 5310, 4096),
]


@pytest.mark.parametrize(("status", "error", "prompt", "context"), TOO_LONG)
def test_prompt_that_does_not_fit_is_named_with_both_numbers(ollama_complete, status, error, prompt, context):
    with pytest.raises(PromptTooLong) as caught:
        ollama_complete(refusal(status, error))
    assert caught.value.details["promptTokens"] == prompt
    assert caught.value.details["contextTokens"] == context


@pytest.mark.parametrize("status", [403, 404, 405, 500])
def test_refusal_without_json_is_understood(ollama_complete, status):
    with pytest.raises(ProviderError):
        ollama_complete(
            Script([b"405 method not allowed"] * (status != 403), status=status, content_type="text/plain")
        )


def test_retry_after_is_passed_on(ollama_complete):
    with pytest.raises(ProviderOverloaded) as caught:
        ollama_complete(refusal(429, "slow down", headers={"Retry-After": "7"}))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": "model runner has unexpectedly stopped"}, BrokenStream),
        ({"error": "an error was encountered while running the model", "done": False}, BrokenStream),
        ({"error": INNER}, PromptTooLong),
        ({"error": "slow down", "StatusCode": 429, "Status": "429 Too Many"}, ProviderOverloaded),
    ],
)
def test_error_line_in_the_middle(ollama_complete, error, kind):
    with pytest.raises(ProviderError) as caught:
        ollama_complete(stream(piece("Hel"), error))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "script",
    [
        stream(piece("Hel")),
        stream(piece("Hel"), Cut()),
        json_script(piece("repeats itself")),
        stream(),
        stream(b"<html>proxy</html>\n"),
        stream(b"[1, 2]\n"),
        stream(b"[" * 5000 + b"\n"),
    ],
    ids=["no-done", "cut", "single-not-done", "empty", "html", "list", "deep"],
)
def test_what_is_no_complete_answer_is_broken(ollama_complete, script):
    with pytest.raises(BrokenStream):
        ollama_complete(script)


@pytest.mark.parametrize(
    "odd", [{"message": "text"}, {"message": {"content": 7, "tool_calls": {"a": 1}}}, {"message": None}, {}]
)
def test_odd_shapes_do_no_harm(ollama_complete, odd):
    assert ollama_complete(stream(odd, last("ok"))).content == "ok"


def test_slow_first_byte_has_its_own_limit(fake_ollama, ollama):
    fake_ollama.enqueue(Script(before=[Pause()]))
    with pytest.raises(ProviderTimeout) as caught:
        ollama.complete(make_request(), limits=Limits(first_token_s=0.2, idle_s=5, total_s=5))
    assert caught.value.phase == "first_token"


def test_slow_load_within_its_limit_is_waited_for(fake_ollama, ollama):
    fake_ollama.enqueue(Script([line(last("late"))], before=[Pause(0.4)]))
    limits = Limits(first_token_s=2, idle_s=0.1, total_s=5)
    assert ollama.complete(make_request(), limits=limits).content == "late"


def test_silence_in_the_middle_is_idle(fake_ollama, ollama):
    fake_ollama.enqueue(stream(piece("Hel"), Pause()))
    with pytest.raises(ProviderTimeout) as caught:
        ollama.complete(make_request(), limits=Limits(first_token_s=5, idle_s=0.2, total_s=5))
    assert caught.value.phase == "idle"


def test_our_own_cancel_ends_the_request(fake_ollama, ollama, limits):
    fake_ollama.enqueue(stream(piece("Hel"), Pause()))
    handle = CallHandle()
    events = ollama.stream(make_request(), limits=limits, handle=handle)
    next(events)
    threading.Timer(0.1, handle.cancel).start()
    with pytest.raises(Cancelled):
        next(events)
    assert fake_ollama.wait_until_left(fake_ollama.requests[0]) < 1


def test_closing_the_iterator_ends_the_request(fake_ollama, ollama, limits):
    fake_ollama.enqueue(stream(piece("Hel"), Pause()))
    events = ollama.stream(make_request(), limits=limits)
    next(events)
    events.close()
    assert fake_ollama.wait_until_left(fake_ollama.requests[0]) < 1


def test_answer_is_bounded(fake_ollama, ollama):
    fake_ollama.enqueue(stream(*[piece("x" * 100)] * 5, last()))
    with pytest.raises(AnswerTooLarge):
        ollama.complete(make_request(), limits=Limits(answer_bytes=250))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("no JSON", "json"), ('{"label": "c"}', SCHEMA), ("{", SCHEMA), ('{"label": "a"} end', "json")],
)
def test_json_that_did_not_come_is_an_invalid_answer_with_its_tokens(ollama_complete, text, wanted):
    with pytest.raises(InvalidAnswer) as caught:
        ollama_complete(answer(text), format=wanted)
    assert caught.value.completion.output_tokens == 8
    assert caught.value.completion.content == text


def test_json_cut_at_the_token_limit_says_so(ollama_complete):
    with pytest.raises(InvalidAnswer, match="cut at its token limit"):
        ollama_complete(answer('{"label":', reason="length"), format="json")


@pytest.mark.parametrize("schema", [{"type": "no-such-type"}, {"patternProperties": {"(a+)+$": {}}}])
def test_schema_that_cannot_be_checked_is_refused_before_the_call(fake_ollama, ollama, limits, schema):
    with pytest.raises(BadProviderRequest):
        ollama.complete(make_request(format=schema), limits=limits)
    assert fake_ollama.requests == []


def test_schema_fetches_nothing_and_its_patterns_cannot_stop_us(fake_ollama, ollama_complete):
    with pytest.raises(BadProviderRequest):
        ollama_complete(answer('"x"'), format={"$ref": f"{fake_ollama.url}/schema.json"})
    assert len(fake_ollama.requests) == 1
    with pytest.raises(InvalidAnswer):
        ollama_complete(answer(json.dumps("a" * 60 + "!")), format={"type": "string", "pattern": "^(a+)+$"})


def test_server_that_is_down_is_unavailable(limits):
    started = time.monotonic()
    with pytest.raises(ProviderUnavailable, match="refused"):
        OllamaProvider(Transport("http://127.0.0.1:9")).complete(make_request(), limits=limits)
    assert time.monotonic() - started < 5


def test_answer_is_bounded_by_its_bytes(fake_ollama, ollama):
    fake_ollama.enqueue(stream(piece("\U0001f600" * 60), last()), stream(piece("\U0001f600" * 63), last()))
    limits = Limits(answer_bytes=250)
    assert len(ollama.complete(make_request(), limits=limits).content) == 60
    with pytest.raises(AnswerTooLarge):
        ollama.complete(make_request(), limits=limits)


def test_a_line_of_more_values_than_an_answer_has_is_not_taken_apart(fake_ollama, ollama, limits):
    text = 'a "quoted" \\ [{,}] ' * 20_000
    bomb = b'{"message": [' + b"{}," * 30_000 + b"{}]}\n"
    fake_ollama.enqueue(stream(piece(text), last()), Script([bomb]))
    assert ollama.complete(make_request(), limits=limits).content == text
    with pytest.raises(BrokenStream, match="more in it"):
        ollama.complete(make_request(), limits=limits)


def test_many_small_pieces_are_one_text():
    text = Text()
    for number in range(2_500):
        text.add(f"{number} ")
    assert str(text).split() == [str(number) for number in range(2_500)]
    text.add("end")
    assert str(text).endswith("2499 end")


def test_a_tool_call_takes_more_room_than_its_text(fake_ollama, ollama):
    call = {"function": {"name": "f", "arguments": {"a": [{}] * 30}}}
    line = json.dumps({"message": {"role": "assistant", "content": "", "tool_calls": [call]}}).encode()
    fake_ollama.enqueue(Script([line + b"\n"]))
    with pytest.raises(AnswerTooLarge):
        ollama.complete(make_request(), limits=Limits(answer_bytes=500))
