"""Ollama's native API: what it can answer, and what each of its failures becomes."""

from __future__ import annotations

import pytest

from llm_routing.errors import (
    BrokenStream,
    ModelNotFound,
    ProviderError,
)
from llm_routing.types import Completion, Delta
from tests.fakes.ollama import DIGEST, NDJSON, NS_PER_MS, answer, last, line, model, piece, refusal, stream
from tests.fakes.server import Script, json_script
from tests.llm_routing.conftest import make_request

SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
TOOL_CALL = {"function": {"name": "weather", "index": 0, "arguments": {"city": "Bern\0"}}}


def test_stream_gives_deltas_and_last_the_whole(ollama, limits):
    *deltas, completion = ollama.stream(make_request(), limits=limits)
    assert deltas == [Delta("Hel"), Delta("lo")]
    assert isinstance(completion, Completion)
    assert (completion.content, completion.stop_reason) == ("Hello", "stop")
    assert (completion.input_tokens, completion.output_tokens) == (26, 8)


def test_durations_are_kept_apart_in_milliseconds(ollama_complete):
    timings = ollama_complete(answer("x")).timings
    assert (timings.load_ms, timings.prompt_ms, timings.decode_ms) == (10, 20, 40)
    assert timings.provider_wait_ms == pytest.approx(30)
    assert 0 < timings.first_token_ms <= timings.total_ms
    assert timings.tokens_per_second(8) == pytest.approx(200)


def test_request_says_everything_that_would_cut_a_prompt_silently(fake_ollama, ollama_complete):
    ollama_complete(
        answer("x"), num_ctx=8192, max_tokens=5, seed=7, stop=("END",), temperature=0.0, think=False
    )
    body = fake_ollama.requests[0].body
    assert (body["stream"], body["truncate"], body["shift"], body["think"]) == (True, False, False, False)
    assert body["options"] == {
        "temperature": 0.0,
        "top_p": 1.0,
        "num_ctx": 8192,
        "num_predict": 5,
        "seed": 7,
        "stop": ["END"],
    }


def test_context_and_answer_limit_are_sent_even_if_nobody_chose_them(fake_ollama, ollama_complete):
    ollama_complete(answer("x"))
    options = fake_ollama.requests[0].body["options"]
    assert options["num_ctx"] == options["num_predict"] == 4096


def test_format_and_tools_are_passed_on(fake_ollama, ollama_complete):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    ollama_complete(answer('{"label": "a"}'), format=SCHEMA, tools=(tool,))
    assert fake_ollama.requests[0].body["format"] == SCHEMA
    assert fake_ollama.requests[0].body["tools"] == [tool]


def test_single_object_is_an_answer_too(ollama_complete):
    assert ollama_complete(json_script(last("All at once"))).content == "All at once"


def test_text_in_the_last_line_counts(ollama_complete):
    assert ollama_complete(stream(piece("Hel"), last("lo"))).content == "Hello"


def test_thinking_is_kept_apart(ollama_complete):
    completion = ollama_complete(stream(piece(thinking="Hm. "), piece(thinking="Yes."), piece("42"), last()))
    assert (completion.thinking, completion.content) == ("Hm. Yes.", "42")


def test_last_line_without_newline_counts(ollama_complete):
    assert ollama_complete(stream(piece("a"), line(last("b")).rstrip())).content == "ab"


@pytest.mark.parametrize(
    "lines", [[piece(tool_calls=[TOOL_CALL]), last()], [last(message={"tool_calls": [TOOL_CALL]})]]
)
def test_tool_call_in_a_middle_or_the_last_line(ollama_complete, lines):
    completion = ollama_complete(stream(*lines), format="json")
    function = {"name": "weather", "arguments": {"city": "Bern\ufffd"}}
    assert completion.tool_calls == ({"id": None, "function": function},)
    assert completion.stop_reason == "tool_calls"


def test_missing_counts_are_not_zero(ollama_complete):
    nothing = dict.fromkeys(
        ["eval_count", "prompt_eval_count", "total_duration", "load_duration", "eval_duration"]
    )
    completion = ollama_complete(stream(piece("x"), last(reason="", **nothing)))
    assert (completion.input_tokens, completion.output_tokens, completion.stop_reason) == (None, None, None)
    assert (completion.timings.load_ms, completion.timings.provider_wait_ms) == (None, None)
    assert not completion.cold_start


@pytest.mark.parametrize("count", ["NaN", "-1", "1e300", "Infinity", '"8"', "true", "[]", "null"])
def test_impossible_counts_are_not_told(ollama_complete, count):
    raw = line(last(eval_count="@", eval_duration="@")).replace(b'"@"', count.encode())
    completion = ollama_complete(stream(piece("x"), raw))
    assert completion.output_tokens is None
    assert completion.timings.decode_ms is None


def test_slow_load_is_a_cold_start(ollama_complete):
    assert ollama_complete(answer("x", load_duration=2_000 * NS_PER_MS)).cold_start
    assert not ollama_complete(answer("x", load_duration=80 * NS_PER_MS)).cold_start


def test_unstorable_characters_are_replaced(ollama_complete):
    raw = rb'{"message":{"content":"a\u0000b\ud800c' + b"\xff" + rb'd"},"done":true}' + b"\n"
    assert ollama_complete(stream(raw)).content == "a\ufffdb\ufffdc\ufffdd"


def test_lines_and_characters_may_be_split_anywhere(ollama_complete):
    data = line(piece("Grüße, 世界 😀")) + line(last())
    split = [data[i : i + 1] for i in range(len(data))]
    assert ollama_complete(Script(split, content_type=NDJSON)).content == "Grüße, 世界 😀"
    assert ollama_complete(Script([data], content_type=NDJSON)).content == "Grüße, 世界 😀"


def test_models_are_listed_with_digest_and_context(fake_ollama, ollama, limits):
    [listed] = ollama.list_models(limits=limits)
    assert (listed.name, listed.digest, listed.size_bytes) == ("llama3.2:1b", DIGEST, 4_700_000_000)
    assert listed.context_tokens == 131_072
    assert listed.details["parameter_size"] == "1.2B"


def test_context_of_an_older_server_comes_from_show(fake_ollama, ollama, limits):
    info = {"general.architecture": "llama", "llama.context_length": 8192}
    shown = json_script({"model_info": info, "capabilities": ["completion", "tools"]})
    fake_ollama.enqueue(json_script({"models": [model("a"), model("b")]}), shown, refusal(500, "no"))
    first, second = ollama.list_models(limits=limits)
    assert (first.context_tokens, first.capabilities) == (8192, ("completion", "tools"))
    assert second.context_tokens is None
    assert [seen.path for seen in fake_ollama.requests] == ["/api/tags", "/api/show", "/api/show"]


@pytest.mark.parametrize("body", [{}, {"models": 3}, [], "x"])
def test_list_of_something_else_is_an_error(fake_ollama, ollama, limits, body):
    fake_ollama.enqueue(json_script(body))
    with pytest.raises(ProviderError):
        ollama.list_models(limits=limits)


def test_pull_tells_its_progress(fake_ollama, ollama, limits):
    layer = {"status": "pulling aaa", "digest": "sha256:a", "total": 9_000_000_000}
    fake_ollama.enqueue(stream(layer, {**layer, "completed": 9_000_000_000}, {"status": "success"}))
    steps = list(ollama.pull("m", limits=limits))
    assert [(step.status, step.completed_bytes) for step in steps] == [
        ("pulling aaa", None),
        ("pulling aaa", 9_000_000_000),
        ("success", None),
    ]


def test_pull_without_success_has_failed(fake_ollama, ollama, limits):
    fake_ollama.enqueue(stream({"status": "pulling manifest"}, {"status": "verifying sha256 digest"}))
    with pytest.raises(BrokenStream):
        list(ollama.pull("m", limits=limits))


def test_pull_of_an_unknown_model(fake_ollama, ollama, limits):
    error = {"error": "pull model manifest: file does not exist"}
    fake_ollama.enqueue(stream({"status": "pulling manifest"}, error))
    with pytest.raises(ModelNotFound):
        list(ollama.pull("m", limits=limits))
