"""What an XLSX file may unpack to, asked before anything is unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

from evalsuite.errors import InvalidBody
from experiments.datasets.surveying import TOO_MUCH

UNPACKED_MAX = 400 * 1024 * 1024  # bytes of all parts
# Real sheets shrink to a tenth or a thirtieth; only what says the same all over shrinks more.
RATIO_MAX, RATIO_FROM = 100, 4 * 1024 * 1024  # bytes of a part, below which its ratio harms nobody
DIRECTORY_MAX = 1024 * 1024  # bytes: zipfile holds a dozen times as much of it in memory
PARTS_MAX = 2_000
END, END_LENGTH, COMMENT_MAX = b"PK\x05\x06", 22, 65_535


def require_sound(file: BinaryIO) -> None:
    """Raises InvalidBody for a bomb, and what zipfile raises for what is no archive. Rewinds the file."""
    _require_short_directory(file)
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        if len(parts) > PARTS_MAX or sum(part.file_size for part in parts) > UNPACKED_MAX:
            raise InvalidBody({"file": [TOO_MUCH]})
        for part in parts:
            if part.file_size > max(RATIO_FROM, RATIO_MAX * part.compress_size):
                raise InvalidBody({"file": [TOO_MUCH]})
    file.seek(0)


def _require_short_directory(file: BinaryIO) -> None:
    """zipfile reads the whole directory at once: its length is looked up before that."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - COMMENT_MAX - END_LENGTH))
    tail = file.read()
    at = tail.find(END)
    while 0 <= at <= len(tail) - END_LENGTH:  # each that zipfile may take for the end
        (length,) = struct.unpack_from("<L", tail, at + 12)
        if length > DIRECTORY_MAX:
            raise InvalidBody({"file": [TOO_MUCH]})
        at = tail.find(END, at + 1)
    file.seek(0)
