"""The span of a call to a model, by OpenTelemetry's semantic conventions for generative AI.

Names of attributes are those of the conventions as of 1.37 and later; nothing of prompts and answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from evalsuite import context, tracing
from evalsuite.errors import EvalsuiteError
from llm_routing.errors import Cancelled
from llm_routing.types import Completion, CompletionRequest, Delta

OPERATION = "chat"
# The conventions name no Ollama, and say to use the dialect for servers that speak OpenAI's.
PROVIDERS = {"ollama": "ollama", "openai_compatible": "openai"}
PORTS = {"http": 80, "https": 443}


def traced(
    kind: str, base_url: str, request: CompletionRequest, events: Iterator[Delta | Completion]
) -> Iterator[Delta | Completion]:
    """The same events, with a span around them. Only where there is a tracer."""
    name = f"{OPERATION} {request.model}"
    span = tracing.call(name, _asked(kind, base_url, request), origin=context.current.get().traceparent)
    try:
        for event in events:
            if isinstance(event, Completion):
                span.set_attributes(_told(event))
            yield event
    except EvalsuiteError as error:
        tracing.failed(span, error.code)
        raise
    except GeneratorExit:  # whoever listened has gone
        tracing.failed(span, Cancelled.__name__)
        raise
    finally:
        if hasattr(events, "close"):
            events.close()
        span.end()


def _asked(kind: str, base_url: str, request: CompletionRequest) -> dict[str, Any]:
    given = request.parameters
    server = urlsplit(base_url)
    facts = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDERS.get(kind, kind),
        "gen_ai.request.model": request.model,
        "gen_ai.request.temperature": given.temperature,
        "gen_ai.request.top_p": given.top_p,
        "gen_ai.request.max_tokens": given.max_tokens,
        "gen_ai.request.seed": given.seed,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "json" if given.format else "text",
        "server.address": server.hostname,
        "server.port": server.port or PORTS.get(server.scheme),
    }
    return _known(facts)


def _told(completion: Completion) -> dict[str, Any]:
    first_ms = completion.timings.first_token_ms
    facts = {
        "gen_ai.response.finish_reasons": [completion.stop_reason] if completion.stop_reason else None,
        "gen_ai.usage.input_tokens": completion.input_tokens,
        "gen_ai.usage.output_tokens": completion.output_tokens,
        "gen_ai.response.time_to_first_chunk": None if first_ms is None else first_ms / 1000,
    }
    return _known(facts)


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
