"""Ollama's native API (docs/api.md there; read at v0.33)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_routing.errors import (
    BrokenStream,
    ModelNotFound,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    WrongServer,
)
from llm_routing.providers import answers
from llm_routing.providers.base import Provider
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.exchange import Exchange
from llm_routing.providers.refusals import explain_in_answer, innermost, require_json, require_ok
from llm_routing.types import (
    Completion,
    CompletionRequest,
    Delta,
    Limits,
    ModelInfo,
    Parameters,
    Probe,
    Timings,
)

NS_PER_MS = 1_000_000
# A loaded model reports some tens of milliseconds for the checks before it runs, even on a busy machine;
# reading weights from disk and setting up the context takes half a second for the smallest of models.
COLD_LOAD_MS = 500
# What Ollama itself takes on a small machine. Said always: its default depends on the memory it finds.
NUM_CTX_WHEN_NOT_TOLD = 4096
TOLD = ("family", "parameter_size", "quantization_level", "format", "remote_host")  # details that are kept
LONGEST_VERSION = 64  # characters
SHOWN_AT_MOST = 50  # models that are asked about one by one, on servers whose list is terse


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One step of a download. Bytes are of the layer under way, None where it has none."""

    status: str
    digest: str | None = None
    completed_bytes: int | None = None
    total_bytes: int | None = None


class OllamaProvider(Provider):
    """POST /api/chat, always streamed; a prompt that does not fit is an error, never cut.

    A 500 is permanent where its text names a mistake of the caller (a wrong type of option, a bad
    format); all others are crashes and failed loads, which may pass.
    """

    def stream(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> Iterator[Delta | Completion]:
        answers.require_usable_format(request.parameters.format)
        answer = _Answer(limits)
        with self.transport.open(
            "POST", "/api/chat", _body(request), limits=limits, handle=handle
        ) as exchange:
            require_ok(exchange, model=request.model)
            for line in exchange.lines():
                piece = answers.parsed(line)
                if piece.get("error"):
                    raise explain_in_answer(piece, model=request.model)
                if (delta := answer.add(piece, exchange)) is not None:
                    yield delta
                if piece.get("done"):
                    completion = answer.completion(piece, exchange)
                    break
            else:
                raise BrokenStream("The answer ended before the server said that it was complete.")
        yield answers.checked(completion, request.parameters.format)

    def warm_up(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> bool:
        """An empty chat with the load-time options: the server answers when the model is in memory."""
        options = {"num_ctx": request.parameters.num_ctx or NUM_CTX_WHEN_NOT_TOLD}
        body = {**_body(request), "messages": [], "options": options}
        for name in ("format", "think", "tools"):
            body.pop(name, None)
        with self.transport.open("POST", "/api/chat", body, limits=limits, handle=handle) as exchange:
            require_ok(exchange, model=request.model)
            for line in exchange.lines():
                piece = answers.parsed(line)
                if piece.get("error"):
                    raise explain_in_answer(piece, model=request.model)
                if piece.get("done"):
                    return exchange.elapsed_ms() >= COLD_LOAD_MS  # it tells no durations here
            raise BrokenStream("The server did not say that it had loaded the model.")

    def list_models(self, *, limits: Limits) -> list[ModelInfo]:
        with self.transport.open("GET", "/api/tags", limits=limits) as exchange:
            require_ok(exchange)
            listed = answers.mapping(exchange.json()).get("models")
        if not isinstance(listed, list):
            raise ProviderError("The server does not list its models. Is it an Ollama?")
        models = [model for model in answers.mappings(listed) if answers.clean(model.get("name"))]
        terse = [model for model in models if "context_length" not in answers.mapping(model.get("details"))]
        for model in terse[:SHOWN_AT_MOST]:
            self._show(model, limits)
        return [_model_info(model) for model in models]

    def probe(self, *, limits: Limits) -> Probe:
        with self.transport.open("GET", "/api/version", limits=limits) as exchange:
            version = answers.clean(require_json(exchange, "no version").get("version"))
        if not version:
            raise WrongServer("The server answers, but not as an Ollama does.")
        with self.transport.open("GET", "/api/tags", limits=limits) as exchange:
            models = answers.mappings(require_json(exchange, "no list of models").get("models"))
        return Probe(len(models), version[:LONGEST_VERSION])

    def _show(self, model: dict[str, Any], limits: Limits) -> None:
        """Add what an older server's list leaves out; a model that cannot be shown stays as listed."""
        try:
            with self.transport.open(
                "POST", "/api/show", {"model": model["name"]}, limits=limits
            ) as exchange:
                require_ok(exchange)
                shown = answers.mapping(exchange.json())
        except (ProviderTimeout, ProviderUnavailable):
            raise  # so would the next model's, one limit after the other
        except ProviderError:
            return
        info = answers.mapping(shown.get("model_info"))
        context = info.get(f"{info.get('general.architecture')}.context_length")
        model["details"] = {**answers.mapping(model.get("details")), "context_length": context}
        model.setdefault("capabilities", shown.get("capabilities"))

    def pull(self, model: str, *, limits: Limits, handle: CallHandle | None = None) -> Iterator[PullProgress]:
        """Download a model; closing the iterator stops it. The last step has the status "success".

        Raises ModelNotFound or ProviderError, and BrokenStream where the server told of no success.
        """
        body = {"model": model, "stream": True}
        with self.transport.open("POST", "/api/pull", body, limits=limits, handle=handle) as exchange:
            require_ok(exchange, model=model)
            for line in exchange.lines():
                exchange.first_token()
                step = answers.parsed(line)
                if "file does not exist" in innermost(step.get("error") or "")[0]:
                    raise ModelNotFound(f"There is no model {model} to pull.", modelName=model)
                if step.get("error"):
                    raise explain_in_answer(step, model=model)
                progress = _progress(step)
                yield progress
                if progress.status == "success":
                    return
            raise BrokenStream("The download ended before the server said that it had succeeded.")


class _Answer:
    """What the lines of a stream add up to."""

    def __init__(self, limits: Limits) -> None:
        self._collected = answers.Collected(limits.answer_bytes)
        self._tool_calls: list[Mapping[str, Any]] = []
        self._first_token_ms: float | None = None

    def add(self, piece: Mapping[str, Any], exchange: Exchange) -> Delta | None:
        message = answers.mapping(piece.get("message"))
        calls = answers.mappings(message.get("tool_calls"))
        for call in calls:
            function = answers.mapping(call.get("function"))
            tool_call = answers.tool_call(call.get("id"), function.get("name"), function.get("arguments"))
            self._collected.spend_on_tools(str(tool_call))
            self._tool_calls.append(tool_call)
        delta = self._collected.add(message.get("content"), message.get("thinking"))
        if self._first_token_ms is None and (delta or calls):
            self._first_token_ms = exchange.first_token()
        return delta

    def completion(self, last: Mapping[str, Any], exchange: Exchange) -> Completion:
        total, load, prompt, decode = (
            answers.milliseconds(last.get(name), NS_PER_MS)
            for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
        )
        waited = None if total is None else max(0.0, total - (load or 0) - (prompt or 0) - (decode or 0))
        completion = Completion(
            content=self._collected.content,
            thinking=self._collected.thinking,
            stop_reason=answers.clean(last.get("done_reason")) or None,
            input_tokens=answers.count(last.get("prompt_eval_count")),
            output_tokens=answers.count(last.get("eval_count")),
            cold_start=(load or 0) >= COLD_LOAD_MS,
            timings=Timings(
                total_ms=exchange.elapsed_ms(),
                first_token_ms=self._first_token_ms,
                provider_wait_ms=waited,
                load_ms=load,
                prompt_ms=prompt,
                decode_ms=decode,
            ),
        )
        return answers.with_tool_calls(completion, tuple(self._tool_calls))


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
    num_ctx = parameters.num_ctx or NUM_CTX_WHEN_NOT_TOLD
    options: dict[str, Any] = {
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        "num_ctx": num_ctx,
        # No answer is longer than the window; said always, since a Modelfile may set another limit.
        "num_predict": parameters.max_tokens or num_ctx,
    }
    if parameters.seed is not None:
        options["seed"] = parameters.seed
    if parameters.stop:
        options["stop"] = list(parameters.stop)
    return options


def _progress(step: Mapping[str, Any]) -> PullProgress:
    return PullProgress(
        status=answers.clean(step.get("status")),
        digest=answers.clean(step.get("digest")) or None,
        completed_bytes=answers.count(step.get("completed"), answers.MOST_BYTES),
        total_bytes=answers.count(step.get("total"), answers.MOST_BYTES),
    )


def _model_info(model: Mapping[str, Any]) -> ModelInfo:
    details = answers.mapping(model.get("details"))
    capabilities = model.get("capabilities")
    told = {**details, "remote_host": model.get("remote_host")}
    return ModelInfo(
        name=answers.clean(model["name"]),
        digest=answers.clean(model.get("digest")) or None,
        size_bytes=answers.count(model.get("size"), answers.MOST_BYTES),
        context_tokens=answers.count(details.get("context_length")),
        capabilities=tuple(map(answers.clean, capabilities)) if isinstance(capabilities, list) else (),
        details={name: answers.clean(told[name]) for name in TOLD if answers.clean(told.get(name))},
    )
