"""Files that hold a test set: CSV, JSON Lines and XLSX, in both directions and without loss."""

from __future__ import annotations

import csv
import io
import json
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, BinaryIO

import tablib  # type: ignore[import-untyped]
from import_export.formats import base_formats

from evalsuite.errors import InvalidBody
from evalsuite.fields import LONGEST_TEXT
from evalsuite.parsers import DEEPEST_JSON, TooManyValues, require_few_values
from experiments.datasets import spreadsheets
from experiments.datasets.neutral import neutralised, restored

ROWS_MAX = 100_000
COLUMNS_MAX = 200

# Python's 128 KB is less than a long document; a reader's buffer takes four bytes a character.
csv.field_size_limit(4 * LONGEST_TEXT)
LONGEST_LINE = 8 * 1024 * 1024  # bytes: the longest of everything in one row, with escapes


Source = bytes | str | BinaryIO
Row = tuple[Any, ...]


class Lines:
    """A table that remembers on which line of the file each row began, and which lines were unreadable.

    A hundred thousand rows are held as plain tuples, once, and let go while they are taken.
    """

    blank_is_missing = True  # no file of cells can tell an empty text from none

    def __init__(self, headers: list[str]) -> None:
        _require_width(len(headers))
        self.headers = headers
        self.problems: list[tuple[int, str]] = []  # each with its line
        self._numbers = array("L")
        self._rows: deque[Row] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    def __bool__(self) -> bool:
        """Also without a row there is something to tell of: why there is none."""
        return True

    def add(self, number: int, row: Row) -> None:
        """Raises InvalidBody for a row too many."""
        _require_room(len(self._rows), number)
        self._numbers.append(number)
        self._rows.append(row)

    def first(self) -> Row | None:
        return self._whole(self._rows[0]) if self._rows else None

    def reshape(self, headers: list[str], change: Callable[[int, Row], Row]) -> None:
        """Other columns, in place. `change` makes a row of the count of those before it and the row."""
        for count in range(len(self._rows)):
            self._rows.append(change(count, self._whole(self._rows.popleft())))
        self.headers = headers

    def taken(self) -> Iterator[tuple[int, Row]]:
        """Each row with its line, once."""
        for number in self._numbers:
            yield number, self._whole(self._rows.popleft())

    def _whole(self, row: Row) -> Row:
        """With the columns that only later rows have brought."""
        return row if len(row) == len(self.headers) else row + (None,) * (len(self.headers) - len(row))


def opened(source: Source) -> IO[str]:
    """A file's text, to be gone through line by line. Raises InvalidBody for bytes that are no UTF-8.

    Decoded while it is read: as a whole it may take four times what its bytes do.
    """
    if isinstance(source, str):
        return io.StringIO(source.removeprefix("\ufeff"), newline="")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            raise InvalidBody({f"line {number}": [f"A line may have {LONGEST_LINE // 1024 // 1024} MB."]})
        try:
            line.decode()
        except UnicodeDecodeError as error:
            raise InvalidBody({f"line {number}": ["This is not UTF-8 text."]}) from error
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


class CSV(base_formats.CSV):  # type: ignore[misc]
    delimiter = ","

    def create_dataset(self, in_stream: Source, **_: Any) -> Lines:
        return self._table(opened(in_stream))

    def _table(self, text: IO[str]) -> Lines:
        reader = csv.reader(text, delimiter=self.delimiter, strict=True)
        try:
            lines = Lines([name.strip() for name in next(reader, [])])
            before = reader.line_num
            for row in reader:
                number, before = before + 1, reader.line_num
                _add(lines, number, row)
        except csv.Error as error:
            raise InvalidBody({f"line {reader.line_num}": [f"This is not CSV: {error}."]}) from error
        return lines

    def export_data(self, dataset: tablib.Dataset, **_: Any) -> str:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(dataset.headers)
        writer.writerows([[neutralised(cell) for cell in row] for row in dataset])
        return out.getvalue()


class PastedTable(CSV):
    """What a spreadsheet puts on the clipboard has tabs between its cells; other tables have commas."""

    def create_dataset(self, in_stream: Source, **_: Any) -> Lines:
        text = opened(in_stream)
        if "\t" in text.readline():
            self.delimiter = "\t"
        text.seek(0)
        return self._table(text)


def _add(lines: Lines, number: int, row: Sequence[str]) -> None:
    """A row of texts; an empty one is passed over, one of another length is a problem."""
    if len(row) > COLUMNS_MAX:
        _require_width(len(row))
    if not any(row):
        return
    if len(row) == len(lines.headers):
        lines.add(number, tuple(map(restored, row)))
        return
    columns = f"{len(row)} column{'' if len(row) == 1 else 's'}"
    lines.problems.append(
        (number, f"line {number}: it has {columns}, the first line has {len(lines.headers)}")
    )


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

    def create_dataset(self, in_stream: Source, **_: Any) -> Lines:
        lines, names = Lines([]), dict[str, None]()
        lines.blank_is_missing = False
        for number, line in enumerate(opened(in_stream), 1):
            if not line.strip():
                continue
            try:
                require_few_values(line)
                value = json.loads(line, parse_constant=_no_constant)
            except RecursionError as error:
                raise InvalidBody({f"line {number}": [f"Deeper than {DEEPEST_JSON} levels."]}) from error
            except TooManyValues as error:
                raise InvalidBody({f"line {number}": [str(error)]}) from error
            except ValueError as error:
                lines.problems.append((number, f"line {number}: this is not JSON ({error})"))
                continue
            if not isinstance(value, dict):
                lines.problems.append((number, f"line {number}: this is not a JSON object"))
                continue
            names.update(dict.fromkeys(value))
            if len(names) <= COLUMNS_MAX:  # of a file that is refused anyway no wide rows are kept
                lines.add(number, tuple(map(value.get, names)))
        _require_width(len(names))
        lines.headers = list(names)
        return lines

    def export_data(self, dataset: tablib.Dataset, **_: Any) -> str:
        rows = (dict(zip(dataset.headers, row, strict=True)) for row in dataset)
        return "".join(json.dumps(_with_object(row), ensure_ascii=False) + "\n" for row in rows)


class XLSX(base_formats.XLSX):  # type: ignore[misc]
    def can_import(self) -> bool:
        return True

    def create_dataset(self, in_stream: bytes | BinaryIO, **_: Any) -> Lines:
        rows = spreadsheets.read(in_stream)
        names = next(rows, (1, list[str]()))[1]
        while names and not names[-1].strip():  # a sheet may have formats right of its last column
            names.pop()
        lines = Lines([name.strip() for name in names])
        for line, cells in rows:
            row = [*cells, *[""] * (len(names) - len(cells))]
            while len(row) > len(names) and not row[-1]:
                row.pop()
            _add(lines, line, row)
        return lines

    def export_data(self, dataset: tablib.Dataset, **_: Any) -> bytes:
        return spreadsheets.written("inputs", dataset.headers, dataset)


FORMATS = [CSV, JSONLines, XLSX]


def _require_width(columns: int) -> None:
    if columns > COLUMNS_MAX:
        raise InvalidBody({"columns": [f"A file may have {COLUMNS_MAX}, this one has {columns:,}."]})


def _require_room(rows: int, number: int) -> None:
    if rows == ROWS_MAX:
        raise InvalidBody({f"line {number}": [f"A file may have {ROWS_MAX:,} rows."]})


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _with_object(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row.get("metadata"), str):
        row["metadata"] = json.loads(row["metadata"])
    return row
