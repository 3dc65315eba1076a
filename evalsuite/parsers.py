"""Reading JSON that strangers send. Apart from `api`, since DRF loads it while it loads its own views."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import exceptions
from rest_framework.parsers import JSONParser

from evalsuite.errors import InvalidBody, TooLarge

DEEPEST_JSON = 64
MOST_VALUES = 300_000
# A text with one character beyond U+FFFF takes four bytes for each that it has: once as the body, once in it.
WIDE = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")
MOST_WIDE = 7 * 1024 * 1024  # bytes of a body that has one
SURROGATE = re.compile("[\ud800-\udfff]")
NAME_TOLD = 200  # characters of a field's name in an error
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class BoundedJSONParser(JSONParser):
    """JSON that is UTF-8, no deeper than 64 levels, without NaN, lone surrogates and NUL."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            body = stream.read()
            _require_room(body)
            text = body.decode("utf-8")
            require_few_values(text)
            data = json.loads(text, parse_constant=_refuse_constant)
        except RequestDataTooBig:
            raise
        except UnicodeDecodeError as error:
            raise exceptions.ParseError("The body is not UTF-8.") from error
        except RecursionError as error:
            raise exceptions.ParseError(f"The JSON is nested deeper than {DEEPEST_JSON} levels.") from error
        except ValueError as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}.") from error
        require_storable(data)
        return data


def _require_room(body: bytes) -> None:
    if len(body) > MOST_WIDE and WIDE.search(body):
        raise TooLarge(
            f"With emoji and other characters beyond U+FFFF a body may have {MOST_WIDE // 1024 // 1024} MB."
        )


class TooManyValues(ValueError):
    """Of JSON that would take many times its own length in memory."""


def require_few_values(text: str) -> None:
    """Raises TooManyValues for more than MOST_VALUES values: `[],[],[]` takes twenty times its own length.

    Text may hold as many commas and brackets as it likes, so strings are only cut out where it matters.
    """
    if _marks(text) > MOST_VALUES and _marks(STRING.sub("", text)) > MOST_VALUES:
        raise TooManyValues(f"It has more than {MOST_VALUES:,} values.")


def _marks(text: str) -> int:
    """At least as many as there are values, but for one."""
    return text.count(",") + text.count("[") + text.count("{")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def require_storable(data: Any) -> None:
    """Raises InvalidBody where the data is too deep, or holds text or numbers no database keeps."""
    waiting: list[tuple[Any, int, str]] = [(data, 1, "")]
    while waiting:
        value, depth, path = waiting.pop()
        name = path or "body"
        if depth > DEEPEST_JSON:
            raise InvalidBody({path.split(".")[0] or "body": [f"Nested deeper than {DEEPEST_JSON} levels."]})
        if isinstance(value, str):
            _require_clean_text(value, name)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidBody({name: ["This must be a finite number, and no larger than a float can be."]})
        elif isinstance(value, dict):
            for key, inner in value.items():
                _require_clean_text(key, name)
                told = key[:NAME_TOLD]
                waiting.append((inner, depth + 1, f"{path}.{told}" if path else told))
        elif isinstance(value, list):
            waiting.extend(
                (inner, depth + 1, f"{path}.{n}" if path else str(n)) for n, inner in enumerate(value)
            )


def _require_clean_text(text: str, name: str) -> None:
    if "\0" in text:
        raise InvalidBody({name: ["NUL characters are not allowed."]})
    if SURROGATE.search(text):
        raise InvalidBody({name: ["Lone surrogates are not allowed."]})
