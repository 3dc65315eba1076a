"""From the lines of a file to rows of a test set: every fault named by line, column and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evalsuite.api import FreeJSONField
from evalsuite.errors import InvalidBody
from evalsuite.fields import LONGEST_TEXT
from evalsuite.parsers import require_few_values, require_storable
from experiments.datasets.formats import Lines
from experiments.services.authoring import NO_METADATA, NewInput

COLUMNS = ("key", "content", "expected", "metadata")
REQUIRED = ("key", "content")
PREFIX = "metadata."
LONGEST = {"key": 128, "content": LONGEST_TEXT, "expected": LONGEST_TEXT}


class Checked:
    """What one file says, and what is wrong with it, line by line. The lines are used up.

    `rows` are whole only where there are no `problems`.
    """

    def __init__(self, lines: Lines, taken: set[str]) -> None:
        self.headers = lines.headers
        self.rows: list[NewInput] = []
        self.problems = list(self._wrong_columns())
        self._found = list(lines.problems)
        if not self.problems:
            self._first: dict[str, int] = {}
            self._blank_is_missing = lines.blank_is_missing
            for number, row in lines.taken():
                self._check(number, dict(zip(self.headers, row, strict=True)), taken)
        self.problems += [why for _line, why in sorted(self._found, key=lambda problem: problem[0])]
        if not self.rows and not self.problems:
            self.problems.append("There are no inputs in this file.")

    def _wrong_columns(self) -> Iterator[str]:
        for name in self.headers:
            if name not in COLUMNS and not (name.startswith(PREFIX) and name != PREFIX):
                yield f"column {name or '(without a name)'}: there is no such column"
        for name in {name for name in self.headers if self.headers.count(name) > 1}:
            yield f"column {name}: it comes twice"
        if self.headers:
            yield from (f"column {name}: missing" for name in REQUIRED if name not in self.headers)

    def _check(self, number: int, cells: dict[str, Any], taken: set[str]) -> None:
        found = list(self._faults(cells, taken))
        metadata = ""
        try:
            metadata = _metadata(cells)
        except (ValueError, InvalidBody) as error:
            found.append(("metadata", str(error)))
        key = cells.get("key")
        if isinstance(key, str) and key:
            first = self._first.setdefault(key, number)
            if first != number:
                found.append(("key", f"{key} is also the key of line {first}"))
        self._found += [(number, f"line {number}, column {column}: {why}") for column, why in found]
        if not found:
            expected = cells.get("expected")
            if expected == "" and self._blank_is_missing:
                expected = None
            self.rows.append(NewInput(cells["key"], cells["content"], expected, metadata))

    def _faults(self, cells: dict[str, Any], taken: set[str]) -> Iterator[tuple[str, str]]:
        for column, longest in LONGEST.items():
            value = cells.get(column)
            if value is None or value == "":
                if column in REQUIRED:
                    yield column, "missing"
            elif not isinstance(value, str):
                yield column, "this is not a text"
            elif column in REQUIRED and not value.strip():
                yield column, "blank"
            elif len(value) > longest:
                yield column, f"{len(value):,} characters, it may have {longest:,}"
            elif why := _unstorable(value):
                yield column, why
            elif column == "key" and value in taken:
                yield column, f"the experiment has an input {value} already"


def _unstorable(text: str) -> str | None:
    if "\0" in text:
        return "it holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it holds half of a character (a lone surrogate)"
    return None


def _metadata(cells: dict[str, Any]) -> str:
    """As JSON. Raises ValueError or InvalidBody, which say what is wrong with it."""
    value = cells.get("metadata")
    if isinstance(value, str) and value.strip():
        try:
            require_few_values(value)
            value = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is not JSON ({error})") from error
    if value in (None, "") or (isinstance(value, str) and not value.strip()):
        value = {}
    if not isinstance(value, dict):
        raise ValueError("this is not a JSON object")  # noqa: TRY004  a fault of the file
    named = {name.removeprefix(PREFIX): cell for name, cell in cells.items() if name.startswith(PREFIX)}
    whole = {**value, **{name: cell for name, cell in named.items() if cell not in (None, "")}}
    if not whole:
        return NO_METADATA
    require_storable(whole)
    text = json.dumps(whole)
    if len(text) > FreeJSONField.longest:
        raise ValueError(f"{len(text):,} bytes of JSON, it may have {FreeJSONField.longest:,}")
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
