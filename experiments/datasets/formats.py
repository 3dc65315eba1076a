"""Files that hold a test set: CSV and JSON Lines in both directions, XLSX for reading in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import tablib  # type: ignore[import-untyped]
from import_export.formats import base_formats
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from evalsuite.errors import InvalidBody

UPLOAD_MAX = 10 * 1024 * 1024  # bytes
ROWS_MAX = 100_000
COLUMNS_MAX = 200
CELL_MAX = 32_767  # characters that a cell of a spreadsheet may have
RISKY = "=+\\-@\t\r\n"  # a spreadsheet may take text that begins so for a formula
TO_NEUTRALISE = re.compile(f"'*[{RISKY}]")
NEUTRALISED = re.compile(f"'+[{RISKY}]")

csv.field_size_limit(UPLOAD_MAX)  # Python's 128 KB is less than a long document


class Lines(tablib.Dataset):  # type: ignore[misc]
    """A table that remembers on which line of the file each row began, and which lines were unreadable."""

    def __init__(self, headers: list[str]) -> None:
        if len(headers) > COLUMNS_MAX:
            raise InvalidBody({"columns": [f"A file may have {COLUMNS_MAX}, this one has {len(headers):,}."]})
        super().__init__(headers=headers)
        self.numbers: list[int] = []
        self.problems: list[str] = []

    def __bool__(self) -> bool:
        """Also without a row there is something to tell of: why there is none."""
        return True

    def add(self, number: int, row: list[Any]) -> None:
        """Raises InvalidBody for a row too many."""
        _require_room(len(self.numbers), number)
        self.numbers.append(number)
        self.append(row)


def neutralised(value: Any) -> Any:
    """Text as a spreadsheet shows it, never computes it; one apostrophe more than it had."""
    return f"'{value}" if isinstance(value, str) and TO_NEUTRALISE.match(value) else value


def restored(value: str) -> str:
    return value[1:] if NEUTRALISED.match(value) else value


def text_of(data: bytes | str) -> str:
    """Raises InvalidBody for bytes that are no UTF-8."""
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1 if isinstance(data, bytes) else 1
        raise InvalidBody({f"line {line}": ["This is not UTF-8 text."]}) from error
    return text.removeprefix("\ufeff")


class CSV(base_formats.CSV):  # type: ignore[misc]
    def create_dataset(self, in_stream: bytes | str, **_: Any) -> Lines:
        reader = csv.reader(io.StringIO(text_of(in_stream), newline=""), strict=True)
        try:
            headers = [name.strip() for name in next(reader, [])]
            lines = Lines(headers)
            before = reader.line_num
            for row in reader:
                number, before = before + 1, reader.line_num
                if not any(row):
                    continue
                if len(row) != len(headers):
                    lines.problems.append(
                        f"line {number}: it has {len(row)} columns, the first line has {len(headers)}"
                    )
                    continue
                lines.add(number, [restored(cell) for cell in row])
        except csv.Error as error:
            raise InvalidBody({f"line {reader.line_num}": [f"This is not CSV: {error}."]}) from error
        return lines

    def export_data(self, dataset: tablib.Dataset, **_: Any) -> str:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(dataset.headers)
        writer.writerows([[neutralised(cell) for cell in row] for row in dataset])
        return out.getvalue()


class JSONLines(base_formats.Format):  # type: ignore[misc]
    """One JSON object on each line."""

    def __init__(self, encoding: str | None = None) -> None:
        self.encoding = encoding

    def get_title(self) -> str:
        return "jsonl"

    def get_extension(self) -> str:
        return "jsonl"

    def get_content_type(self) -> str:
        return "application/x-ndjson"

    def is_binary(self) -> bool:
        return False

    def get_read_mode(self) -> str:
        return "r"

    def can_import(self) -> bool:
        return True

    def can_export(self) -> bool:
        return True

    def create_dataset(self, in_stream: bytes | str, **_: Any) -> Lines:
        problems: list[str] = []
        objects: list[tuple[int, dict[str, Any]]] = []
        for number, line in enumerate(text_of(in_stream).split("\n"), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                problems.append(f"line {number}: this is not JSON ({error})")
                continue
            if isinstance(value, dict):
                _require_room(len(objects), number)
                objects.append((number, value))
            else:
                problems.append(f"line {number}: this is not a JSON object")
        lines = Lines(list(dict.fromkeys(name for _number, value in objects for name in value)))
        lines.problems = problems
        for number, value in objects:
            lines.add(number, [value.get(name) for name in lines.headers])
        return lines

    def export_data(self, dataset: tablib.Dataset, **_: Any) -> str:
        rows = (dict(zip(dataset.headers, row, strict=True)) for row in dataset)
        return "".join(json.dumps(_with_object(row), ensure_ascii=False) + "\n" for row in rows)


class XLSX(base_formats.XLSX):  # type: ignore[misc]
    def can_import(self) -> bool:
        return False

    def export_data(self, dataset: tablib.Dataset, **_: Any) -> bytes:
        book = Workbook(write_only=True)
        sheet = book.create_sheet("inputs")
        sheet.append(dataset.headers)
        for row in dataset:
            sheet.append([_printable(neutralised(cell)) for cell in row])
        out = io.BytesIO()
        book.save(out)
        return out.getvalue()


FORMATS = [CSV, JSONLines, XLSX]


def _require_room(rows: int, number: int) -> None:
    if rows == ROWS_MAX:
        raise InvalidBody({f"line {number}": [f"A file may have {ROWS_MAX:,} rows."]})


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _with_object(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row.get("metadata"), str):
        row["metadata"] = json.loads(row["metadata"])
    return row


def _printable(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = ILLEGAL_CHARACTERS_RE.sub(" ", cell)
    if len(text) <= CELL_MAX:
        return text
    mark = f"… (cut, {len(text):,} characters)"
    return text[: CELL_MAX - len(mark)] + mark
