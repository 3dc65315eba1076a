"""XLSX without loss: what a cell cannot hold is kept beside it, and is put together again when read."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from typing import Any, BinaryIO

from openpyxl import Workbook
from openpyxl.reader.excel import ExcelReader

from evalsuite.errors import InvalidBody
from experiments.datasets import packing
from experiments.datasets.neutral import neutralised
from experiments.datasets.surveying import SurveyedArchive

CELL_MAX = 32_767  # characters that a cell may have, as Excel counts them
PART = 30_000  # of a text that is longer; escapes and a mark have room beside it
MARK = " … (goes on in the sheet “long texts”)"
LONG_TEXTS = "long texts"  # row and column of the cell, both from 1, and what comes after its first part
# XML has no control characters but tab and line feed; the format writes them, and what looks like it, so.
ESCAPE = re.compile(r"[\x00-\x08\x0b-\x1f]|_(?=x[0-9A-Fa-f]{4}_)")
ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def written(name: str, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A workbook of one sheet, and a second one for texts that are longer than a cell."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet(name)
    rest = book.create_sheet(LONG_TEXTS)
    rest.append(["row", "column", "text"])
    sheet.append(list(headers))
    for number, row in enumerate(rows, 2):
        cells = []
        for column, value in enumerate(row, 1):
            first, *parts = _parts(value)
            cells.append(first)
            for part in parts:
                rest.append([number, column, part])
        sheet.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _parts(value: Any) -> list[Any]:
    if not isinstance(value, str):
        return [value]
    text = neutralised(value)
    if len(text) <= CELL_MAX and len(escaped := escape(text)) <= CELL_MAX:
        return [escaped]
    pieces = [text[start : start + PART] for start in range(0, len(text), PART)]
    # Every part is marked as text, so that none of them begins like a formula.
    return [escape(pieces[0]) + MARK, *(f"'{escape(piece)}" for piece in pieces[1:])]


def read(data: bytes | BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The rows of the first sheet with their numbers. Empty cells are empty texts, neutralised ones stay so.

    Raises InvalidBody for what is no workbook, or was packed to harm.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        packing.require_sound(file)
        yield from _rows(file)
    except InvalidBody:
        raise
    except Exception as error:  # whatever zip, XML and openpyxl find wrong with what a stranger made
        raise InvalidBody({"file": ["This is not an XLSX workbook."]}) from error


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    book = _opened(file)
    rest: dict[tuple[int, int], list[str]] = {}
    if LONG_TEXTS in book.sheetnames[1:]:
        for number, column, text in book[LONG_TEXTS].iter_rows(min_row=2, max_col=3, values_only=True):
            if isinstance(number, int) and isinstance(column, int):
                rest.setdefault((number, column), []).append(unescape(str(text or ""))[1:])
    for number, row in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
        yield number, [_text(value, rest.get((number, column))) for column, value in enumerate(row, 1)]
    book.close()


def _opened(file: BinaryIO) -> Workbook:
    """Rows are read as they are asked for, each as wide as its own cells, whatever the sheet says."""
    reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
    reader.archive = SurveyedArchive(file)
    reader.read()
    for sheet in reader.wb.worksheets:
        sheet.reset_dimensions()
    return reader.wb


def escape(text: str) -> str:
    return ESCAPE.sub(lambda match: f"_x{ord(match[0]):04X}_", text)


def unescape(text: str) -> str:
    return ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _text(value: Any, rest: list[str] | None) -> str:
    if isinstance(value, str):
        return unescape(value) if rest is None else unescape(value.removesuffix(MARK)) + "".join(rest)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return f"{value:.15g}" if isinstance(value, float) else str(value)
