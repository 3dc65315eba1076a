"""What all providers do with an answer: read it, clean it, collect it, check it."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from llm_routing.errors import AnswerTooLarge, BadProviderRequest, BrokenStream, InvalidAnswer
from llm_routing.types import Completion, Delta, JsonFormat

MOST_TOKENS = 2_000_000_000  # a larger count is a lie, and fits no column
MOST_BYTES = 2**53  # of weights; larger ones are no exact number in JSON
LONGEST_MS = 86_400_000.0
DEEPEST_JSON = 64
LONG_LINE = 64 * 1024  # characters; also what a longer one may have besides its texts
LONGEST_REASON = 500  # characters of a validator's words that we pass on
_TEXTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
TOOLS_TAKE = 10
_taking_apart = threading.Lock()  # the values of one long answer at a time are in memory
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean(text: Any) -> str:
    """Model output as text that every database takes: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text) if isinstance(text, str) else ""


def clean_json(value: Any, room: int = DEEPEST_JSON) -> Any:
    """The same for all texts of a JSON value; NaN and infinities become None. Raises BrokenStream."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list) and room == 0:
        raise BrokenStream("The server sent JSON that is nested too deeply.")
    if isinstance(value, dict):
        return {clean(key): clean_json(item, room - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_json(item, room - 1) for item in value]
    return value


def count(value: Any, most: int = MOST_TOKENS) -> int | None:
    """A count of tokens, or of what else; None for anything that cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None
    return int(value)


def milliseconds(value: Any, per_ms: float = 1) -> float | None:
    """A duration in units of which `per_ms` make a millisecond; None for anything impossible."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / per_ms if 0 <= value <= LONGEST_MS * per_ms else None


def parsed(line: str) -> dict[str, Any]:
    """One JSON object of a stream. Raises BrokenStream."""
    # Each "{}," is worth twenty times its length in memory, and many calls are in the air at once.
    if len(line) > LONG_LINE and len(_TEXTS.sub("", line)) > LONG_LINE:
        raise BrokenStream("The server sent a line with more in it than an answer has.")
    try:
        value = json.loads(line, strict=False)
    except (ValueError, RecursionError) as error:
        raise BrokenStream("The server sent a line that is no JSON.") from error
    if not isinstance(value, dict):
        raise BrokenStream("The server sent a line that is no JSON object.")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """What should be an object of a server's JSON; empty where it is something else."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects of what should be a list of objects."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def tool_call(call_id: Any, name: Any, arguments: Any) -> Mapping[str, Any]:
    """One tool call in the shape that all providers share: {"id", "function": {"name", "arguments"}}.

    The arguments are an object; where a server sent text that is no JSON, that text.
    """
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = clean(arguments)
    function = {"name": clean(name), "arguments": clean_json(arguments)}
    return {"id": clean(call_id) or None, "function": function}


class Text:
    """A text that comes in pieces. Many small ones would take a multiple of its length."""

    MOST_PIECES = 1000

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        if len(self._pieces) >= self.MOST_PIECES:
            str(self)

    def __str__(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]


class Collected:
    """The answer so far. Raises AnswerTooLarge beyond `longest` bytes."""

    def __init__(self, longest: int) -> None:
        self._content = Text()
        self._thinking = Text()
        self._room = longest

    def add(self, content: Any, thinking: Any) -> Delta | None:
        """The cleaned piece, or None where there is nothing in it."""
        delta = Delta(clean(content), clean(thinking))
        if not delta.content and not delta.thinking:
            return None
        self._spend(_size(delta.content) + _size(delta.thinking))
        self._content.add(delta.content)
        self._thinking.add(delta.thinking)
        return delta

    def spend_on_tools(self, text: str) -> None:
        """Room that a part of a tool call takes: its text becomes values, which take a multiple."""
        self._spend(_size(text) * TOOLS_TAKE)

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise AnswerTooLarge("The model wrote more than we are willing to hold.")

    @property
    def content(self) -> str:
        return str(self._content)

    @property
    def thinking(self) -> str:
        return str(self._thinking)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def require_usable_format(wanted: JsonFormat | None) -> None:
    """Raises BadProviderRequest where no answer could be checked against this schema."""
    if not isinstance(wanted, Mapping):
        return
    if "patternProperties" in json.dumps(wanted, default=str):
        # The validator would run such patterns by `re`, where one of them can stop a worker for good.
        raise BadProviderRequest("patternProperties cannot be used in the schema of an answer.")
    try:
        Draft202012Validator.check_schema(dict(wanted))
    except (SchemaError, RecursionError) as error:
        reason = getattr(error, "message", "it is nested too deeply")
        raise BadProviderRequest(f"The JSON schema is not valid: {reason[:LONGEST_REASON]}") from None


def checked(completion: Completion, wanted: JsonFormat | None) -> Completion:
    """The same completion. Raises InvalidAnswer where JSON was asked for and did not come.

    An answer that calls tools is no answer in words yet, and passes.
    """
    if wanted is None or completion.stop_reason == "tool_calls":
        return completion
    with _taking_apart if len(completion.content) > LONG_LINE else contextlib.nullcontext():
        return _fitting(completion, wanted)


def _fitting(completion: Completion, wanted: JsonFormat) -> Completion:
    try:
        value = json.loads(completion.content)
    except (ValueError, RecursionError) as error:
        cut = "it was cut at its token limit" if completion.stop_reason == "length" else str(error)
        raise InvalidAnswer(f"The answer is no valid JSON: {cut}.", completion=completion) from None
    if isinstance(wanted, Mapping) and (problem := _misfit(value, wanted)):
        raise InvalidAnswer(f"The answer does not fit the schema: {problem}", completion=completion)
    return completion


def with_tool_calls(completion: Completion, tool_calls: tuple[Mapping[str, Any], ...]) -> Completion:
    """Servers differ in the stop reason beside tool calls; ours says so always."""
    if not tool_calls:
        return completion
    reason = "length" if completion.stop_reason == "length" else "tool_calls"
    return replace(completion, tool_calls=tool_calls, stop_reason=reason)


def _misfit(value: Any, schema: Mapping[str, Any]) -> str | None:
    # An empty registry: a `$ref` to another address must not make us fetch it.
    validator = _Validator(dict(schema), registry=Registry())
    try:
        problem = next(validator.iter_errors(value), None)
    except (Unresolvable, RecursionError, re2.error) as error:
        raise BadProviderRequest(f"The JSON schema cannot be used: {str(error)[:LONGEST_REASON]}") from None
    return None if problem is None else problem.message[:LONGEST_REASON]


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    """RE2 in place of `re`: its time is bounded, whatever pattern a user wrote."""
    if validator.is_type(instance, "string") and not re2.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _pattern}
)
