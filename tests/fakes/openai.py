"""A scripted server of the OpenAI shape, with llama.cpp's additions."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.server import FakeServer, Script, Seen, json_script

EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(content: str | None = None, *, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chunk of an answer."""
    change = {**({} if content is None else {"content": content}), **delta}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": 0, "delta": change, "finish_reason": finish}],
    }


def usage(prompt: Any = 26, completion: Any = 8, **more: Any) -> dict[str, Any]:
    """The chunk that follows the last one where usage was asked for."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}, **more}


def stream(*values: Any, done: bool = True) -> Script:
    """Values as events; bytes and steps as they are."""
    steps = [event(value) if isinstance(value, dict) else value for value in values]
    return Script([*steps, *([DONE] if done else [])], content_type=EVENTS)


def answer(*texts: str, finish: str = "stop", prompt: Any = 26, completion: Any = 8, **more: Any) -> Script:
    """A good answer in these pieces."""
    return stream(
        chunk(None, role="assistant"),
        *[chunk(text) for text in texts],
        chunk(finish=finish),
        usage(prompt, completion, **more),
    )


def refusal(status: int, message: str, **facts: Any) -> Script:
    return json_script({"error": {"message": message, "code": status, **facts}}, status=status)


class FakeOpenAI(FakeServer):
    """Without a script it answers each chat with "Hello" and lists one model."""

    def default(self, seen: Seen) -> Script:
        match seen.path:
            case "/v1/chat/completions":
                return answer("Hel", "lo")
            case "/v1/models":
                return json_script({"object": "list", "data": [{"id": "m", "object": "model"}]})
        return json_script({"error": {"message": "File Not Found", "code": 404}}, status=404)
