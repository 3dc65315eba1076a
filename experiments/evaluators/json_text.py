"""Reading JSON that a model wrote: strict, and of any size and depth without harm."""

from __future__ import annotations

import json
import math
import re
from typing import Any

FENCE = "```"
LANGUAGE = re.compile(r"[A-Za-z0-9_+-]{0,20}")
LONGEST_INTEGER = 300  # digits; a longer one is read as what floats can hold
FENCED = {
    "type": "boolean",
    "default": False,
    "title": "Allow a code fence",
    "description": "```json before and ``` after the answer are taken away.",
}


class NotJson(ValueError):
    """The text is no JSON; the message says why."""


class Unreadable(ValueError):
    """It may be JSON, but nobody can tell: too deep, or with a number that no machine holds."""


def read(text: str, *, fenced: bool) -> Any:
    """The value of a JSON text. Raises NotJson, or Unreadable."""
    if fenced:
        text = _inside_fence(text)
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer, parse_float=_number)
    except RecursionError as error:
        raise Unreadable("The answer is nested too deep to be checked.") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"No JSON: {error.msg}, at line {error.lineno}, column {error.colno}.") from error


def _inside_fence(text: str) -> str:
    """What stands in a code fence that is the whole text; the text itself where there is none."""
    bare = text.strip()
    first, line_end, rest = bare.partition("\n")
    language = first.removeprefix(FENCE).strip()
    if first.startswith(FENCE) and line_end and rest.endswith(FENCE) and LANGUAGE.fullmatch(language):
        return rest.removesuffix(FENCE)
    return text


def _no_constant(name: str) -> Any:
    raise NotJson(f"No JSON: {name} is no value there.")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else _number(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Unreadable("The answer has a number that is too large to be checked.")
    return value
