"""What a workbook would take in memory is told before any of it is read."""

from __future__ import annotations

import pytest

from evalsuite.errors import InvalidBody
from experiments.datasets import spreadsheets, surveying
from tests.fuzz.bombs import OUTSIDE, ROW, SHEET, STRINGS, workbook

MERGED = SHEET.replace("</sheetData>", "</sheetData><mergeCells>{}</mergeCells>")


def rows_of(data):
    return [cells for _, cells in spreadsheets.read(data)]


def refused(data):
    with pytest.raises(InvalidBody) as caught:
        rows_of(data)
    return caught.value.details["file"][0]


def sheet(*rows):
    return workbook(sheet=SHEET.format("".join(rows)).encode())


def test_a_good_workbook_is_read():
    assert rows_of(workbook()) == [["key", "content"], ["a", "b"]]


def test_a_row_may_stand_as_far_down_as_a_sheet_goes():
    far = '<row r="{}"><c><v>1</v></c></row>'
    assert rows_of(sheet(far.format(3)))[-1] == ["1"]
    assert refused(sheet(far.format(1_048_577))) == surveying.TOO_MUCH
    assert refused(sheet(far.format("1e9"))) == surveying.TOO_MUCH


def test_rows_are_as_wide_as_their_cells_whatever_the_sheet_says():
    whole = SHEET.replace("<sheetData>", '<dimension ref="A1:XFD1048576"/><sheetData>')
    data = workbook(sheet=whole.format(ROW.format("key", "content")).encode())
    assert rows_of(data) == [["key", "content"]]


@pytest.mark.parametrize(
    ("limit", "value", "parts"),
    [
        pytest.param("TAGS_MAX", 100, {"sheet": SHEET.format("<row/>" * 101)}, id="tags"),
        pytest.param(
            "WITHIN_MAX", 100, {"sheet": SHEET.format("<row>" + "<c/>" * 101 + "</row>")}, id="within a row"
        ),
        pytest.param("TEXT_MAX", 100, {"sheet": SHEET.format(ROW.format("a" * 51, "b" * 51))}, id="text"),
        pytest.param(
            "TOKEN_MAX", 100_000, {"sheet": SHEET.format(f'<row s="{"1" * 200_000}"/>')}, id="one tag"
        ),
        pytest.param("MEMORY_MAX", 100_000, {"sheet": SHEET.format(ROW.format("a", "b") * 600)}, id="rows"),
        pytest.param("MEMORY_MAX", 100_000, {"strings": STRINGS.format("<si/>" * 700)}, id="strings"),
        pytest.param(
            "MEMORY_MAX",
            100_000,
            {"sheet": MERGED.format(*["", '<mergeCell ref="A1:B2"/>' * 101])},
            id="merged cells",
        ),
    ],
)
def test_a_workbook_of_too_much_is_refused(monkeypatch, limit, value, parts):
    data = workbook(**{part: text.encode() for part, text in parts.items()})
    rows_of(data)
    monkeypatch.setattr(surveying, limit, value)
    assert refused(data) == surveying.TOO_MUCH


def test_a_sheet_has_the_room_that_its_shared_strings_leave(monkeypatch):
    strings = STRINGS.format("<si/>" * 400).encode()
    rows = SHEET.format("<row/>" * 400).encode()
    monkeypatch.setattr(surveying, "MEMORY_MAX", 100_000)
    rows_of(workbook(strings=strings))
    rows_of(workbook(sheet=rows))
    assert refused(workbook(strings=strings, sheet=rows)) == surveying.TOO_MUCH


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_no_part_may_define_entities(encoding):
    assert refused(workbook(sheet=OUTSIDE.decode().encode(encoding))) == "A workbook may define no entities."
