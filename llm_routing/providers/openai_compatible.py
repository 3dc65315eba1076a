"""Servers that speak OpenAI's chat completions: llama.cpp, vLLM, LM Studio, hosted ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_routing.errors import BrokenStream, ProviderError, WrongServer
from llm_routing.providers import answers
from llm_routing.providers.base import Provider
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.exchange import LONGEST_LINE, Exchange
from llm_routing.providers.refusals import explain_in_answer, require_json, require_ok
from llm_routing.tokens import least_tokens
from llm_routing.types import Completion, CompletionRequest, Delta, Limits, ModelInfo, Probe, Timings

MOST_TOOL_CALLS = 256
_VERSION_AT_END = re.compile(r"/v\d+$")


class OpenAICompatibleProvider(Provider):
    """POST /v1/chat/completions, always streamed. The base URL may end in /v1 or not.

    These servers cannot be told to refuse a prompt that does not fit; `may_be_cut` marks an answer
    whose prompt had fewer tokens at the server than it can have had.
    """

    def stream(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> Iterator[Delta | Completion]:
        answers.require_usable_format(request.parameters.format)
        answer = _Answer(limits)
        path = self._path("/chat/completions")
        with self.transport.open("POST", path, _body(request), limits=limits, handle=handle) as exchange:
            require_ok(exchange, model=request.model)
            for chunk in _chunks(exchange):
                if chunk.get("error"):
                    raise explain_in_answer(chunk, model=request.model)
                if (delta := answer.add(chunk, exchange)) is not None:
                    yield delta
            completion = answer.completion(request, exchange)
        yield answers.checked(completion, request.parameters.format)

    def list_models(self, *, limits: Limits) -> list[ModelInfo]:
        with self.transport.open("GET", self._path("/models"), limits=limits) as exchange:
            require_ok(exchange)
            listed = answers.mapping(exchange.json()).get("data")
        if not isinstance(listed, list):
            raise ProviderError("The server does not list its models. Is its address right?")
        return [_model_info(model) for model in answers.mappings(listed) if answers.clean(model.get("id"))]

    def probe(self, *, limits: Limits) -> Probe:
        with self.transport.open("GET", self._path("/models"), limits=limits) as exchange:
            listed = require_json(exchange, "no list of models").get("data")
        if not isinstance(listed, list):
            raise WrongServer("The server answers, but does not list its models.")
        return Probe(len(answers.mappings(listed)))

    def _path(self, path: str) -> str:
        return path if _VERSION_AT_END.search(self.transport.base_url) else f"/v1{path}"


def _chunks(exchange: Exchange) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of an event stream; of a server that does not stream, its only one.

    Raises BrokenStream where the stream ended neither with [DONE] nor with a reason to stop.
    """
    if exchange.content_type == "application/json":
        whole = answers.parsed(exchange.text(longest=LONGEST_LINE))
        if not _choice(whole) and not whole.get("error"):
            raise BrokenStream("The server sent an answer that has nothing in it.")
        yield whole
        return
    stopped = False
    for line in exchange.lines():
        field, _, value = line.partition(":")
        data = value.strip()
        if field not in ("data", "error") or not data:
            continue  # names and numbers of events
        if data == "[DONE]":
            return
        chunk = answers.parsed(data)
        stopped = stopped or bool(_choice(chunk).get("finish_reason"))
        yield {"error": chunk} if field == "error" else chunk
    if not stopped:
        raise BrokenStream("The answer ended before the server said that it was complete.")


def _choice(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(answers.mappings(chunk.get("choices"))), {})


class _ToolCall:
    """One call of a tool, as far as its parts have come."""

    def __init__(self) -> None:
        self.id = ""
        self.name = answers.Text()
        self.arguments = answers.Text()


class _Answer:
    """What a stream of chunks adds up to."""

    def __init__(self, limits: Limits) -> None:
        self._collected = answers.Collected(limits.answer_bytes)
        self._tool_calls: dict[int, _ToolCall] = {}
        self._usage: Mapping[str, Any] = {}
        self._timings: Mapping[str, Any] = {}
        self._stop_reason: str | None = None
        self._first_token_ms: float | None = None

    def add(self, chunk: Mapping[str, Any], exchange: Exchange) -> Delta | None:
        self._usage = answers.mapping(chunk.get("usage")) or self._usage
        self._timings = answers.mapping(chunk.get("timings")) or self._timings
        choice = _choice(chunk)
        self._stop_reason = answers.clean(choice.get("finish_reason")) or self._stop_reason
        piece = answers.mapping(choice.get("delta") or choice.get("message"))
        parts = answers.mappings(piece.get("tool_calls"))
        for position, part in enumerate(parts):
            self._add_tool_call(part, position)
        thinking = piece.get("reasoning_content") or piece.get("reasoning")
        delta = self._collected.add(piece.get("content"), thinking)
        if self._first_token_ms is None and (delta or parts):
            self._first_token_ms = exchange.first_token()
        return delta

    def _add_tool_call(self, part: Mapping[str, Any], position: int) -> None:
        """A call comes in parts: name and id once, the arguments' text piece by piece."""
        index = answers.count(part.get("index"), MOST_TOOL_CALLS)
        call = self._tool_calls.setdefault(position if index is None else index, _ToolCall())
        function = answers.mapping(part.get("function"))
        name, arguments = answers.clean(function.get("name")), answers.clean(function.get("arguments"))
        self._collected.spend_on_tools(name + arguments)
        call.id = answers.clean(part.get("id")) or call.id
        call.name.add(name)
        call.arguments.add(arguments)

    def completion(self, request: CompletionRequest, exchange: Exchange) -> Completion:
        input_tokens = answers.count(self._usage.get("prompt_tokens"))
        completion = Completion(
            content=self._collected.content,
            thinking=self._collected.thinking,
            stop_reason=self._stop_reason,
            input_tokens=input_tokens,
            output_tokens=answers.count(self._usage.get("completion_tokens")),
            may_be_cut=input_tokens is not None and input_tokens < least_tokens(request.messages),
            timings=Timings(
                total_ms=exchange.elapsed_ms(),
                first_token_ms=self._first_token_ms,
                prompt_ms=answers.milliseconds(self._timings.get("prompt_ms")),
                decode_ms=answers.milliseconds(self._timings.get("predicted_ms")),
            ),
        )
        calls = (
            answers.tool_call(call.id, str(call.name), str(call.arguments))
            for _, call in sorted(self._tool_calls.items())
        )
        return answers.with_tool_calls(completion, tuple(calls))


def _body(request: CompletionRequest) -> dict[str, Any]:
    parameters = request.parameters
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
    }
    if parameters.max_tokens is not None:
        body["max_tokens"] = parameters.max_tokens
    if parameters.seed is not None:
        body["seed"] = parameters.seed
    if parameters.stop:
        body["stop"] = list(parameters.stop)
    if parameters.tools:
        body["tools"] = [dict(tool) for tool in parameters.tools]
    if parameters.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif parameters.format is not None:
        schema = {"name": "answer", "schema": dict(parameters.format), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if isinstance(parameters.think, str):
        body["reasoning_effort"] = parameters.think
    return body


def _model_info(model: Mapping[str, Any]) -> ModelInfo:
    meta = answers.mapping(model.get("meta"))
    # Served with, where the server tells; else what the model was trained for.
    context = meta.get("n_ctx") or model.get("max_model_len") or meta.get("n_ctx_train")
    owner = answers.clean(model.get("owned_by"))
    return ModelInfo(
        name=answers.clean(model["id"]),
        size_bytes=answers.count(meta.get("size"), answers.MOST_BYTES),
        context_tokens=answers.count(context),
        details={"ownedBy": owner} if owner else {},
    )
