"""A table as the bytes of a file, piece by piece."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from experiments.datasets import spreadsheets
from experiments.datasets.neutral import neutralised
from experiments.datasets.tables import Table, as_text

ROWS_A_PIECE = 500


@dataclass(frozen=True, slots=True)
class Kind:
    content_type: str
    pieces: Callable[[Table], Iterator[bytes]]


def _csv(table: Table) -> Iterator[bytes]:
    yield from _written(table, [list(table.headers)])
    while some := list(islice(table.rows, ROWS_A_PIECE)):
        yield from _written(table, [[neutralised(as_text(value)) for value in row] for row in some])


def _written(table: Table, rows: list[list[Any]]) -> Iterator[bytes]:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    yield out.getvalue().encode()


def _json_lines(table: Table) -> Iterator[bytes]:
    while some := list(islice(table.rows, ROWS_A_PIECE)):
        objects = (dict(zip(table.headers, map(_plain, row), strict=True)) for row in some)
        yield "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects).encode()


def _plain(value: Any) -> Any:
    """As JSON has it: free JSON, booleans and null stay what they are."""
    if isinstance(value, UUID) or hasattr(value, "isoformat"):
        return as_text(value)
    return value


def _xlsx(table: Table) -> Iterator[bytes]:
    rows = ([as_text(value) for value in row] for row in table.rows)
    yield spreadsheets.written(table.name, table.headers, rows)


KINDS = {
    "csv": Kind("text/csv; charset=utf-8", _csv),
    "jsonl": Kind("application/x-ndjson", _json_lines),
    "xlsx": Kind("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", _xlsx),
}
