"""Servers of the OpenAI shape: streams, additions of llama.cpp and others, failures."""

from __future__ import annotations

import pytest

from llm_routing.errors import (
    BadProviderRequest,
    BrokenStream,
    InvalidAnswer,
    ModelNotFound,
    PromptTooLong,
    ProviderError,
    ProviderOverloaded,
    ProviderTimeout,
    ProviderUnavailable,
)
from llm_routing.providers.kinds import PROVIDER_KINDS
from llm_routing.providers.openai_compatible import OpenAICompatibleProvider
from llm_routing.providers.transport import Transport
from llm_routing.types import Delta, Limits
from tests.fakes.openai import DONE, EVENTS, answer, chunk, event, refusal, stream, usage
from tests.fakes.server import Pause, Script, json_script
from tests.llm_routing.conftest import make_request

SCHEMA = {"type": "object", "required": ["label"]}


@pytest.fixture
def provider(fake_openai):
    return OpenAICompatibleProvider(Transport(fake_openai.url))


@pytest.fixture
def complete(fake_openai, provider, limits):
    def run(script, content="Hi", **parameters):
        fake_openai.enqueue(script)
        return provider.complete(make_request(content, **parameters), limits=limits)

    return run


def test_stream_gives_deltas_and_last_the_whole(provider, limits):
    *deltas, completion = provider.stream(make_request(), limits=limits)
    assert deltas == [Delta("Hel"), Delta("lo")]
    assert (completion.content, completion.stop_reason) == ("Hello", "stop")
    assert (completion.input_tokens, completion.output_tokens) == (26, 8)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_address_may_end_in_v1_or_not(fake_openai, limits, tail):
    client = OpenAICompatibleProvider(Transport(fake_openai.url + tail))
    assert client.complete(make_request(), limits=limits).content == "Hello"
    assert client.list_models(limits=limits)[0].name == "m"


def test_request_asks_for_a_stream_with_usage(fake_openai, complete):
    complete(answer("x"), max_tokens=5, seed=7, stop=("END",), temperature=0.0)
    body = fake_openai.requests[0].body
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert (body["max_tokens"], body["seed"], body["stop"], body["temperature"]) == (5, 7, ["END"], 0.0)


def test_json_and_schemas_are_asked_for(fake_openai, complete):
    complete(answer("{}"), format="json")
    complete(answer('{"label": 1}'), format=SCHEMA)
    plain, schema = (seen.body["response_format"] for seen in fake_openai.requests)
    assert plain == {"type": "json_object"}
    assert schema["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_thinking(complete, name):
    completion = complete(stream(chunk(**{name: "Hm."}), chunk("42"), chunk(finish="stop")))
    assert (completion.thinking, completion.content) == ("Hm.", "42")


def test_parts_of_tool_calls_are_joined(complete):
    def part(index, **function):
        call = {"index": index, "function": function}
        return chunk(tool_calls=[{**call, "id": f"call_{index}"} if "name" in function else call])

    parts = [
        part(0, name="weather", arguments=""),
        part(0, arguments='{"city": '),
        part(1, name="time", arguments="no JSON"),
        part(0, arguments='"Bern"}'),
    ]
    completion = complete(stream(*parts, chunk(finish="tool_calls")), format="json")
    assert completion.stop_reason == "tool_calls"
    assert completion.tool_calls == (
        {"id": "call_0", "function": {"name": "weather", "arguments": {"city": "Bern"}}},
        {"id": "call_1", "function": {"name": "time", "arguments": "no JSON"}},
    )


def test_timings_of_llama_cpp_are_used(complete):
    timings = complete(answer("x", timings={"prompt_ms": 12.5, "predicted_ms": 40.0})).timings
    assert (timings.prompt_ms, timings.decode_ms) == (12.5, 40.0)


def test_no_timings_and_no_usage_are_not_zero(complete):
    completion = complete(stream(chunk("x"), chunk(finish="stop")))
    assert (completion.input_tokens, completion.output_tokens) == (None, None)
    assert (completion.timings.prompt_ms, completion.timings.load_ms) == (None, None)
    assert not completion.may_be_cut


def test_prompt_with_far_fewer_tokens_than_words_may_be_cut(complete):
    text = "The quick brown fox jumps over the lazy dog. " * 100
    assert complete(answer("x", prompt=500), content=text).may_be_cut
    assert not complete(answer("x", prompt=1010), content=text).may_be_cut


@pytest.mark.parametrize("text", ["=" * 4000, " " * 4000, "0123456789" * 300, "\n\n    " * 500])
def test_runs_that_tokenizers_pack_tightly_raise_no_alarm(complete, text):
    assert not complete(answer("x", prompt=60), content=text).may_be_cut


def test_reason_to_stop_completes_an_answer_without_done(complete):
    assert complete(stream(chunk("x"), chunk(finish="length"), done=False)).stop_reason == "length"


def test_done_completes_an_answer_without_reason(complete):
    assert complete(stream(chunk("x"))).stop_reason is None


def test_server_that_does_not_stream_is_understood(complete):
    whole = {
        "choices": [{"message": {"content": "all"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3},
    }
    completion = complete(json_script(whole))
    assert (completion.content, completion.input_tokens) == ("all", 3)


def test_comments_ends_of_lines_and_split_characters(complete):
    data = b": ping\r\n\r\nevent: x\r\n" + event(chunk("世界")) + event(chunk(finish="stop")) + DONE
    split = [data[i : i + 1] for i in range(len(data))]
    assert complete(Script(split, content_type=EVENTS)).content == "世界"


@pytest.mark.parametrize(
    "script",
    [
        stream(chunk("x"), done=False),
        stream(done=False),
        stream(b"data: {nonsense}\n\n"),
        Script([b"<html></html>"], content_type="text/html"),
        json_script({}),
        json_script([1]),
    ],
    ids=["no-end", "empty", "no-json", "html", "empty-object", "list"],
)
def test_what_is_no_complete_answer_is_broken(complete, script):
    with pytest.raises(BrokenStream):
        complete(script)


CONTEXT = {"type": "exceed_context_size_error", "n_prompt_tokens": 5310, "n_ctx": 4096}
VLLM = "This model's maximum context length is 4096 tokens. However, you requested 5310 tokens (5300 as text)"


@pytest.mark.parametrize(
    "script",
    [
        refusal(400, "request exceeds", **CONTEXT),
        refusal(400, VLLM),
        stream({"error": {"message": "no", "code": 400, **CONTEXT}}, done=False),
    ],
)
def test_prompt_that_does_not_fit_is_named_with_both_numbers(complete, script):
    with pytest.raises(PromptTooLong, match=r"5,310 of 4,096 tokens"):
        complete(script)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (refusal(400, "bad"), BadProviderRequest),
        (refusal(401, "no key"), BadProviderRequest),
        (refusal(404, "The model `m` does not exist", code="model_not_found"), ModelNotFound),
        (refusal(404, "File Not Found"), BadProviderRequest),
        (json_script({"detail": "Not Found"}, status=404), BadProviderRequest),
        (refusal(429, "slow down"), ProviderOverloaded),
        (refusal(500, "oops"), ProviderError),
        (refusal(503, "Loading model"), ProviderUnavailable),
        (stream(chunk("x"), {"error": {"message": "crashed", "code": 500}}, done=False), BrokenStream),
        (stream(chunk("x"), b'error: {"message": "crashed"}\n\n', done=False), BrokenStream),
    ],
)
def test_failures(complete, script, kind):
    with pytest.raises(ProviderError) as caught:
        complete(script)
    assert type(caught.value) is kind


def test_role_alone_is_no_token(fake_openai, provider):
    """A server may greet at once and queue then: the limit between tokens does not apply yet."""
    fake_openai.enqueue(stream(chunk(role="assistant"), Pause(0.4), chunk("x"), chunk(finish="stop")))
    assert provider.complete(make_request(), limits=Limits(first_token_s=2, idle_s=0.1)).content == "x"


def test_pings_are_silence(fake_openai, provider):
    pings = [step for _ in range(20) for step in (b": ping\n\n", Pause(0.1))]
    fake_openai.enqueue(stream(chunk("x"), *pings, chunk(finish="stop")))
    with pytest.raises(ProviderTimeout) as caught:
        provider.complete(make_request(), limits=Limits(idle_s=0.3))
    assert caught.value.phase == "idle"


def test_json_that_did_not_come_is_an_invalid_answer(complete):
    with pytest.raises(InvalidAnswer):
        complete(answer("no JSON"), format="json")
    with pytest.raises(InvalidAnswer):
        complete(answer("{}"), format=SCHEMA)


@pytest.mark.parametrize(
    "odd", [{"choices": "x"}, {"choices": [3]}, {"choices": [{"delta": "x"}]}, {"usage": 3}]
)
def test_odd_shapes_do_no_harm(complete, odd):
    assert complete(stream(odd, chunk("ok"), chunk(finish="stop"), usage())).content == "ok"


def test_models_come_with_the_context_they_are_served_with(fake_openai, provider, limits):
    models = [
        {"id": "a", "meta": {"n_ctx": 2048, "n_ctx_train": 8192, "size": 96_576_768}, "owned_by": "llamacpp"},
        {"id": "b", "meta": {"n_ctx_train": 8192}},
        {"id": "c", "max_model_len": 4096},
        {"id": "d", "meta": None},
    ]
    fake_openai.enqueue(json_script({"data": models}))
    listed = provider.list_models(limits=limits)
    assert [model.context_tokens for model in listed] == [2048, 8192, 4096, None]
    assert listed[0].size_bytes == 96_576_768


def test_kinds_name_both_providers():
    assert set(PROVIDER_KINDS) == {"ollama", "openai_compatible"}
