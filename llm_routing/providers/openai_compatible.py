"""Servers that speak OpenAI's chat completions: llama.cpp, vLLM, LM Studio, hosted ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llm_routing.errors import BrokenStream, ModelNotFound, ProviderError
from llm_routing.providers import answers
from llm_routing.providers.base import Provider
from llm_routing.providers.transport import CallHandle, Exchange
from llm_routing.tokens import least_tokens
from llm_routing.types import Completion, CompletionRequest, Delta, Limits, ModelInfo, Timings


class OpenAICompatibleProvider(Provider):
    """POST /v1/chat/completions, always streamed. The base URL may end in /v1 or not."""

    def stream(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> Iterator[Delta | Completion]:
        answer = _Answer(limits)
        path = self._path("/chat/completions")
        with self.transport.open("POST", path, _body(request), limits=limits, handle=handle) as exchange:
            _require_ok(exchange, request.model)
            for line in exchange.lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or not data:
                    continue
                if data == "[DONE]":
                    break
                delta = answer.add(answers.parsed(data), request.model)
                if delta is not None:
                    answer.first_token_ms = answer.first_token_ms or exchange.elapsed_ms()
                    exchange.writing = True
                    yield delta
            else:
                # Some servers leave [DONE] out; a reason to stop tells as well that nothing is missing.
                if answer.stop_reason is None:
                    raise BrokenStream("The answer ended before the server said that it was complete.")
            completion = answer.completion(request, exchange)
        if not completion.tool_calls:
            answers.require_format(completion.content, request.parameters.format)
        yield completion

    def list_models(self, *, limits: Limits) -> list[ModelInfo]:
        status, listed = self.transport.get_json(self._path("/models"), limits=limits)
        models = listed.get("data") if isinstance(listed, dict) else None
        if status != 200 or not isinstance(models, list):
            raise ProviderError(f"The server does not list its models ({status}). Is the address right?")
        return [_model_info(model) for model in models if isinstance(model, dict) and model.get("id")]

    def _path(self, path: str) -> str:
        return path if self.transport.base_url.endswith("/v1") else f"/v1{path}"


class _Answer:
    """What a stream of chunks adds up to."""

    def __init__(self, limits: Limits) -> None:
        self._collected = answers.Collected(limits.answer_chars)
        self._tool_calls: dict[int, dict[str, Any]] = {}
        self._usage: Mapping[str, Any] = {}
        self._timings: Mapping[str, Any] = {}
        self.stop_reason: str | None = None
        self.first_token_ms: float | None = None

    def add(self, chunk: Mapping[str, Any], model: str) -> Delta | None:
        if chunk.get("error"):
            raise _error(500, chunk["error"], model)
        self._usage = chunk.get("usage") or self._usage
        self._timings = chunk.get("timings") or self._timings
        choices = chunk.get("choices") or [{}]
        choice = choices[0] if isinstance(choices[0], dict) else {}
        self.stop_reason = answers.clean(choice.get("finish_reason")) or self.stop_reason
        delta = choice.get("delta") or {}
        for part in delta.get("tool_calls") or ():
            self._add_tool_call(part)
        return self._collected.add(delta.get("content"), delta.get("reasoning_content"))

    def _add_tool_call(self, part: Mapping[str, Any]) -> None:
        """A call comes in parts: name and id once, the arguments' text piece by piece."""
        call = self._tool_calls.setdefault(part.get("index", 0), {"id": None, "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += answers.clean(function.get("name"))
        call["arguments"] += answers.clean(function.get("arguments"))

    def completion(self, request: CompletionRequest, exchange: Exchange) -> Completion:
        input_tokens = answers.count(self._usage.get("prompt_tokens"))
        least = least_tokens(request.messages)
        return Completion(
            content=self._collected.content,
            thinking=self._collected.thinking,
            tool_calls=tuple(
                {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
                for _, call in sorted(self._tool_calls.items())
            ),
            stop_reason=self.stop_reason,
            input_tokens=input_tokens,
            output_tokens=answers.count(self._usage.get("completion_tokens")),
            may_be_cut=input_tokens is not None and input_tokens < least,
            timings=Timings(
                total_ms=exchange.elapsed_ms(),
                first_token_ms=self.first_token_ms,
                prompt_ms=answers.milliseconds(self._timings.get("prompt_ms")),
                decode_ms=answers.milliseconds(self._timings.get("predicted_ms")),
            ),
        )


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


def _require_ok(exchange: Exchange, model: str) -> None:
    if exchange.status == 200:
        return
    text = exchange.text()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    raise _error(exchange.status, body if isinstance(body, dict) else "", model, exchange.retry_after)


def _error(status: int, error: Any, model: str, retry_after: float | None = None) -> ProviderError:
    text, facts = answers.error_text(error)
    if too_long := answers.too_long(text, facts):
        return too_long
    if facts.get("code") == "model_not_found" or (status == 404 and "model" in text.lower()):
        return ModelNotFound(f"The server has no model {model}.", modelName=model)
    return answers.status_error(status, text, retry_after)


def _model_info(model: Mapping[str, Any]) -> ModelInfo:
    meta: Mapping[str, Any] = found if isinstance(found := model.get("meta"), dict) else {}
    context = meta.get("n_ctx") or model.get("max_model_len") or meta.get("n_ctx_train")
    return ModelInfo(
        name=answers.clean(model["id"]),
        context_tokens=answers.count(context),
        details={"ownedBy": model["owned_by"]} if isinstance(model.get("owned_by"), str) else {},
    )
