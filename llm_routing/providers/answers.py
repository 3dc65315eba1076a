"""What all providers do with what comes back: clean it, collect it, check it, name its errors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import jsonschema

from llm_routing.errors import (
    AnswerTooLarge,
    BadProviderRequest,
    BrokenStream,
    InvalidAnswer,
    PromptTooLong,
    ProviderError,
    ProviderOverloaded,
    ProviderUnavailable,
)
from llm_routing.types import Delta, JsonFormat

MOST_TOKENS = 2_000_000_000  # a larger count is a lie, and fits no column
LONGEST_MESSAGE = 500  # characters of a server's error text that we pass on
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_TOO_LONG = re.compile(
    r"exceeds? the (available |model'?s? )?(maximum )?context|context (size|length|window)|prompt is too long"
    r"|input (is )?too long|too many tokens|longer than the context",
    re.IGNORECASE,
)
_TOKEN_COUNT = re.compile(r"(\d[\d,]*) tokens", re.IGNORECASE)


def clean(text: Any) -> str:
    """Model output as text that every database takes: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text) if isinstance(text, str) else ""


def count(value: Any) -> int | None:
    """A token count, or None for anything that cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MOST_TOKENS else None


def milliseconds(value: Any, per_ms: float = 1) -> float | None:
    """A duration in units of which `per_ms` make a millisecond; None for anything impossible."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value / per_ms if 0 <= value / per_ms < 86_400_000 else None


def parsed(line: str) -> dict[str, Any]:
    """One JSON object of a stream. Raises BrokenStream."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenStream("The server sent a line that is no JSON.") from error
    if not isinstance(value, dict):
        raise BrokenStream("The server sent a line that is no JSON object.")
    return value


class Collected:
    """The answer so far. Raises AnswerTooLarge beyond `longest` characters."""

    def __init__(self, longest: int) -> None:
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._room = longest

    def add(self, content: Any, thinking: Any) -> Delta | None:
        """The cleaned piece, or None where there is nothing in it."""
        delta = Delta(clean(content), clean(thinking))
        if not delta.content and not delta.thinking:
            return None
        self._room -= len(delta.content) + len(delta.thinking)
        if self._room < 0:
            raise AnswerTooLarge("The model wrote more than we are willing to hold.")
        self._content.append(delta.content)
        self._thinking.append(delta.thinking)
        return delta

    @property
    def content(self) -> str:
        return "".join(self._content)

    @property
    def thinking(self) -> str:
        return "".join(self._thinking)


def require_format(content: str, wanted: JsonFormat | None) -> None:
    """Raises InvalidAnswer where JSON, or a certain shape of it, was asked for and did not come."""
    if wanted is None:
        return
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"The answer is no valid JSON: {error}.") from error
    if isinstance(wanted, Mapping):
        problem = next(iter(jsonschema.Draft202012Validator(dict(wanted)).iter_errors(value)), None)
        if problem is not None:
            raise InvalidAnswer(f"The answer does not fit the schema: {problem.message[:LONGEST_MESSAGE]}")


def error_text(error: Any) -> tuple[str, Mapping[str, Any]]:
    """The innermost message of a server's error, and the object that it stood in.

    Servers wrap each other's errors, as objects and as JSON inside a text.
    """
    facts: Mapping[str, Any] = {}
    for _ in range(5):
        if isinstance(error, str) and error.lstrip().startswith("{"):
            try:
                error = json.loads(error)
            except (ValueError, RecursionError):
                break
        elif isinstance(error, Mapping):
            facts = error
            error = error.get("error") or error.get("message") or error.get("detail") or ""
        else:
            break
    return clean(error if isinstance(error, str) else str(error))[:LONGEST_MESSAGE].strip(), facts


def too_long(text: str, facts: Mapping[str, Any]) -> PromptTooLong | None:
    """PromptTooLong where that is what the server's error says, with the numbers where it has them."""
    if facts.get("type") != "exceed_context_size_error" and not _TOO_LONG.search(text):
        return None
    prompt, context = count(facts.get("n_prompt_tokens")), count(facts.get("n_ctx"))
    if prompt is None and len(numbers := _TOKEN_COUNT.findall(text)) >= 2:
        prompt, context = (int(number.replace(",", "")) for number in numbers[:2])
    return PromptTooLong(prompt_tokens=prompt, context_tokens=context)


def status_error(status: int, text: str, retry_after: float | None) -> ProviderError:
    """What an error status of a server means, apart from what its text may tell more exactly."""
    said = f": {text}" if text else "."
    if status == 429:
        return ProviderOverloaded(f"The server is overloaded{said}", retry_after=retry_after)
    if status in (408, 502, 503, 504):
        return ProviderUnavailable(f"The server cannot answer now ({status}){said}", retry_after=retry_after)
    if status in (401, 403):
        return BadProviderRequest(f"The server refuses our key or our request ({status}){said}")
    if 300 <= status < 400:
        return BadProviderRequest(f"The server redirects ({status}); give its final address.")
    if 400 <= status < 500:
        return BadProviderRequest(f"The server refuses the request ({status}){said}")
    return ProviderError(f"The server failed ({status}){said}", retry_after=retry_after)
