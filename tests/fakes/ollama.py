"""A scripted Ollama: native chat, lists and pulls, as its documentation and source say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.fakes.server import FakeServer, Script, Seen, Step, json_script

NDJSON = "application/x-ndjson"
NS_PER_MS = 1_000_000
DIGEST = "a" * 64


def line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def piece(content: str = "", **message: Any) -> dict[str, Any]:
    """One line of an answer under way."""
    return {
        "model": "m",
        "created_at": "2026-08-21T10:00:00.123456Z",
        "message": {"role": "assistant", "content": content, **message},
        "done": False,
    }


def last(
    content: str = "", *, reason: str = "stop", message: dict[str, Any] | None = None, **more: Any
) -> Any:
    """The last line, with counts and durations unless they are named as None."""
    facts = {
        "total_duration": 100 * NS_PER_MS,
        "load_duration": 10 * NS_PER_MS,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 20 * NS_PER_MS,
        "eval_count": 8,
        "eval_duration": 40 * NS_PER_MS,
        **more,
    }
    told = {name: value for name, value in facts.items() if value is not None}
    return {**piece(content, **(message or {})), "done": True, "done_reason": reason, **told}


def answer(*texts: str, **end: Any) -> Script:
    """A good answer in these pieces."""
    return stream(*[piece(text) for text in texts], last(**end))


def stream(*values: Any) -> Script:
    """Values as lines; bytes and steps as they are."""
    steps: Sequence[Step] = [line(value) if isinstance(value, dict) else value for value in values]
    return Script(steps, content_type=NDJSON)


def refusal(status: int, text: Any, **more: Any) -> Script:
    return json_script({"error": text}, status=status, **more)


def model(name: str = "llama3.2:1b", **details: Any) -> dict[str, Any]:
    """One model of the list."""
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-08-01T00:00:00Z",
        "size": 4_700_000_000,
        "digest": DIGEST,
        "details": {
            "format": "gguf",
            "family": "llama",
            "families": None,
            "parameter_size": "1.2B",
            "quantization_level": "Q8_0",
            **details,
        },
    }


class FakeOllama(FakeServer):
    """Without a script it answers each chat with "Hello" and lists one model."""

    def default(self, seen: Seen) -> Script:
        match seen.path:
            case "/api/chat":
                return answer("Hel", "lo")
            case "/api/tags":
                return json_script({"models": [model(context_length=131_072)]})
            case "/api/version":
                return json_script({"version": "0.33.0"})
            case "/api/pull":
                return stream({"status": "pulling manifest"}, {"status": "success"})
        return Script([b"404 page not found"], status=404, content_type="text/plain")
