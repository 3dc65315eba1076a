"""Ollama's native API (docs/api.md there; read at v0.33)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_routing.errors import BadProviderRequest, BrokenStream, ModelNotFound, ProviderError
from llm_routing.providers import answers
from llm_routing.providers.base import Provider
from llm_routing.providers.transport import CallHandle, Exchange
from llm_routing.types import Completion, CompletionRequest, Delta, Limits, ModelInfo, Parameters, Timings

NS_PER_MS = 1_000_000
# A loaded model reports a few milliseconds of checks; reading weights from disk takes at least this.
COLD_LOAD_MS = 250
BAD_OPTION = "must be of type"


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One step of a download. Bytes are of the layer under way, None where it has none."""

    status: str
    completed_bytes: int | None = None
    total_bytes: int | None = None


class OllamaProvider(Provider):
    """POST /api/chat, always streamed; a prompt that does not fit is an error, never cut."""

    def stream(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> Iterator[Delta | Completion]:
        collected = answers.Collected(limits.answer_chars)
        tool_calls: list[Mapping[str, Any]] = []
        first_token_ms: float | None = None
        with self.transport.open(
            "POST", "/api/chat", _body(request), limits=limits, handle=handle
        ) as exchange:
            _require_ok(exchange, request.model)
            for line in exchange.lines():
                if not line.strip():
                    continue
                piece = answers.parsed(line)
                if piece.get("error"):
                    raise _error(500, piece["error"], request.model)
                message = piece.get("message") or {}
                tool_calls.extend(message.get("tool_calls") or [])
                delta = collected.add(message.get("content"), message.get("thinking"))
                if delta is not None:
                    first_token_ms = first_token_ms or exchange.elapsed_ms()
                    exchange.writing = True
                    yield delta
                if piece.get("done"):
                    completion = _completion(piece, collected, tool_calls, exchange, first_token_ms)
                    break
            else:
                raise BrokenStream("The answer ended before the server said that it was complete.")
        if not tool_calls:
            answers.require_format(completion.content, request.parameters.format)
        yield completion

    def list_models(self, *, limits: Limits) -> list[ModelInfo]:
        status, listed = self.transport.get_json("/api/tags", limits=limits)
        models = listed.get("models") if isinstance(listed, dict) else None
        if status != 200 or not isinstance(models, list):
            raise ProviderError(f"The server does not list its models ({status}). Is it an Ollama?")
        return [_model_info(model) for model in models if isinstance(model, dict) and model.get("name")]

    def pull(self, model: str, *, limits: Limits) -> Iterator[PullProgress]:
        """Download a model. Raises ModelNotFound or ProviderError; BrokenStream where no success was told."""
        body = {"model": model, "stream": True}
        with self.transport.open("POST", "/api/pull", body, limits=limits) as exchange:
            _require_ok(exchange, model)
            exchange.writing = True
            for line in exchange.lines():
                step = answers.parsed(line)
                if step.get("error"):
                    raise _error(
                        404 if "file does not exist" in str(step["error"]) else 500, step["error"], model
                    )
                status = answers.clean(step.get("status"))
                yield PullProgress(
                    status, answers.count(step.get("completed")), answers.count(step.get("total"))
                )
                if status == "success":
                    return
        raise BrokenStream("The download ended before the server said that it had succeeded.")


def _body(request: CompletionRequest) -> dict[str, Any]:
    parameters = request.parameters
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "stream": True,
        "truncate": False,
        "shift": False,
        "options": _options(parameters),
    }
    if parameters.format is not None:
        body["format"] = parameters.format if parameters.format == "json" else dict(parameters.format)
    if parameters.think is not None:
        body["think"] = parameters.think
    if parameters.tools:
        body["tools"] = [dict(tool) for tool in parameters.tools]
    return body


def _options(parameters: Parameters) -> dict[str, Any]:
    options: dict[str, Any] = {
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        # -1 is Ollama's own word for no limit; said always, since a Modelfile may set another.
        "num_predict": parameters.max_tokens or -1,
    }
    if parameters.num_ctx is not None:
        options["num_ctx"] = parameters.num_ctx
    if parameters.seed is not None:
        options["seed"] = parameters.seed
    if parameters.stop:
        options["stop"] = list(parameters.stop)
    return options


def _completion(
    last: Mapping[str, Any],
    collected: answers.Collected,
    tool_calls: list[Mapping[str, Any]],
    exchange: Exchange,
    first_token_ms: float | None,
) -> Completion:
    total, load, prompt, decode = (
        answers.milliseconds(last.get(name), NS_PER_MS)
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    )
    waited = None if total is None else max(0.0, total - (load or 0) - (prompt or 0) - (decode or 0))
    return Completion(
        content=collected.content,
        thinking=collected.thinking,
        tool_calls=tuple(tool_calls),
        stop_reason=answers.clean(last.get("done_reason")) or None,
        input_tokens=answers.count(last.get("prompt_eval_count")),
        output_tokens=answers.count(last.get("eval_count")),
        cold_start=(load or 0) >= COLD_LOAD_MS,
        timings=Timings(
            total_ms=exchange.elapsed_ms(),
            first_token_ms=first_token_ms,
            provider_wait_ms=waited,
            load_ms=load,
            prompt_ms=prompt,
            decode_ms=decode,
        ),
    )


def _require_ok(exchange: Exchange, model: str) -> None:
    if exchange.status == 200:
        return
    text = exchange.text()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if exchange.status == 404 and not isinstance(body, dict):
        raise BadProviderRequest(f"The server at {exchange.base_url} knows no such route. Is it an Ollama?")
    error = body.get("error", "") if isinstance(body, dict) else ""
    raise _error(exchange.status, error, model, exchange.retry_after)


def _error(status: int, error: Any, model: str, retry_after: float | None = None) -> ProviderError:
    text, facts = answers.error_text(error)
    if too_long := answers.too_long(text, facts):
        return too_long
    if status == 404:
        return ModelNotFound(f"The server has no model {model}. Pull it there first.", modelName=model)
    if BAD_OPTION in text:
        return BadProviderRequest(f"The server refuses an option: {text}")
    return answers.status_error(status, text, retry_after)


def _model_info(model: Mapping[str, Any]) -> ModelInfo:
    details = model.get("details") or {}
    return ModelInfo(
        name=answers.clean(model["name"]),
        digest=answers.clean(model.get("digest")) or None,
        size_bytes=answers.count(model.get("size")) if model.get("size", 0) < answers.MOST_TOKENS else None,
        context_tokens=answers.count(details.get("context_length")),
        capabilities=tuple(map(str, model.get("capabilities") or ())),
        details={
            name: details[name]
            for name in ("family", "parameter_size", "quantization_level", "format")
            if details.get(name)
        },
    )
