"""What a workbook would take in memory, told by the tags of each part before it is read.

Sizes on disk tell little: four million empty cells are 16 MB of XML, shrink to nothing, and take a gigabyte.
"""

from __future__ import annotations

import sys
import zipfile
from typing import IO, Any, BinaryIO
from xml.parsers import expat

from evalsuite.errors import InvalidBody

# Bytes that openpyxl and Python take: for a row or a shared string, for any other element outside of them
# (a style, a merged cell), and for all that a sheet and the strings it shares may take together.
KEPT, HEAVY, MEMORY_MAX = 150, 1_000, 80 * 1024 * 1024
TAGS_MAX = 5_000_000  # of a part, their ends among them
WITHIN_MAX = 50_000  # elements of one row or shared string: a row of all columns, as texts
TEXT_MAX = 8 * 1024 * 1024  # characters of one row or shared string
TOKEN_MAX = 1024 * 1024  # bytes of one tag: whoever reads it holds it whole
ROW_NUMBER_MAX = 1_048_576  # as Excel has it; rows that are left out before it are made up
PIECE = 64 * 1024
TOO_MUCH = "This workbook unpacks to more than may be read."


class SurveyedArchive(zipfile.ZipFile):
    """Every part is surveyed when it is opened first. Raises InvalidBody for one that may not be read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._surveyed: set[str] = set()
        self._strings = 0  # bytes of those that all sheets share

    def open(self, name: str | zipfile.ZipInfo, *args: Any, **kwargs: Any) -> IO[bytes]:
        path = name.filename if isinstance(name, zipfile.ZipInfo) else name
        if path not in self._surveyed:
            self._surveyed.add(path)
            with super().open(name) as part:
                _require_few_tags(part)
            with super().open(name) as part:
                self._strings += _Survey(self._strings).of(part)
        return super().open(name, *args, **kwargs)


def _require_few_tags(part: IO[bytes]) -> None:
    """Counted, which is fast, before each is looked at."""
    tags = 0
    while piece := part.read(PIECE):
        tags += piece.count(b"<")
        _require(tags <= TAGS_MAX)


class _Survey:
    """`_inside` is the depth within a row or shared string; 0 outside of all."""

    def __init__(self, taken: int) -> None:
        self._room = MEMORY_MAX - taken
        self._inside = self._elements_within = self._text_within = self._strings = 0
        self._is_string = False  # a shared one, not a row
        self._is_reference = False  # a cell whose text is the number of a shared string
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.buffer_size = TOKEN_MAX
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = _refuse_doctype

    def of(self, part: IO[bytes]) -> int:
        """The bytes that its shared strings take."""
        fed = 0
        while piece := part.read(PIECE):
            self._parser.Parse(piece)
            fed += len(piece)
            _require(fed - self._parser.CurrentByteIndex <= TOKEN_MAX)
        self._parser.Parse(b"", True)
        return self._strings

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if self._inside:
            self._inside += 1
            self._elements_within += 1
            _require(self._elements_within <= WITHIN_MAX)
            if name == "c":
                self._is_reference = attributes.get("t") == "s"
        elif name in ("row", "si"):
            self._inside, self._elements_within, self._text_within = 1, 0, 0
            self._is_string = name == "si"
            self._take(KEPT)
            _require(name != "row" or float(attributes.get("r", 1)) <= ROW_NUMBER_MAX)
        else:
            self._take(HEAVY)

    def _end(self, tag: str) -> None:
        self._inside = max(0, self._inside - 1)

    def _text(self, text: str) -> None:
        if self._inside:
            self._text_within += len(text)
            _require(self._text_within <= TEXT_MAX)
        if not (self._inside and self._is_reference):
            self._take(sys.getsizeof(text))

    def _take(self, size: int) -> None:
        self._room -= size
        _require(self._room >= 0)
        if self._inside and self._is_string:
            self._strings += size


def _require(holds: bool) -> None:
    if not holds:
        raise InvalidBody({"file": [TOO_MUCH]})


def _refuse_doctype(*_: Any) -> None:
    raise InvalidBody({"file": ["A workbook may define no entities."]})
