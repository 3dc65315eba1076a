"""Requests that are small for who sends them and large for who takes them, and what they cost a process."""

from __future__ import annotations

import gzip
import io
import json
import random
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

MB = 1024 * 1024
PIECE = 64 * 1024
BOUNDARY = "frontier"
JSON, NDJSON = "application/json", "application/x-ndjson"
FORM = "application/x-www-form-urlencoded"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Bomb:
    """`door`: `api` for the inputs of an experiment, `page` for its import, `login` for what all may post."""

    name: str
    door: str
    content_type: str
    body: Callable[[], Iterable[bytes]]
    length: int | None = None  # None: sent in chunks
    headers: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (400, 413)


@dataclass(frozen=True)
class Cost:
    status: int
    seconds: float  # from the first byte that was sent to the first of the answer
    megabytes: float  # by which the process grew at most
    sent: int  # bytes


class Process:
    """The memory of one process, as Linux tells it."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def _kb(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    def forget_peak(self) -> int:
        """From now on the peak is counted anew; answers the memory of now, in KB."""
        (self._folder / "clear_refs").write_text("5")
        return self._kb("VmRSS")

    def peak(self) -> int:
        return self._kb("VmHWM")


def throw(bomb: Bomb, process: Process, port: int, path: str, headers: Iterable[str]) -> Cost:
    """Send until the server answers; a server that takes everything gets everything."""
    body = bomb.body()
    how = f"Content-Length: {bomb.length}" if bomb.length is not None else "Transfer-Encoding: chunked"
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Type: {bomb.content_type}", how]
    head = "\r\n".join([*lines, *headers, *bomb.headers, "", ""]).encode("latin-1")
    before = process.forget_peak()
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        sent = _send(connection, head, body, chunked=bomb.length is None)
        connection.settimeout(30)
        answer = b""
        while b" " not in answer[9:]:
            got = connection.recv(4096)
            assert got, f"{bomb.name}: closed without an answer after {sent:,} bytes"
            answer += got
        seconds = time.perf_counter() - began
    return Cost(int(answer.split()[1]), seconds, (process.peak() - before) / 1024, sent)


def _send(connection: socket.socket, head: bytes, body: Iterable[bytes], *, chunked: bool) -> int:
    """How much went out before the server answered, or hung up."""
    sent = 0
    with suppress(BrokenPipeError, ConnectionResetError):
        for piece in _framed(head, body, chunked=chunked):
            connection.sendall(piece)
            sent += len(piece)
            connection.setblocking(False)
            with suppress(BlockingIOError):
                if connection.recv(1, socket.MSG_PEEK):
                    break
            connection.settimeout(30)
    return sent


def _framed(head: bytes, body: Iterable[bytes], *, chunked: bool) -> Iterator[bytes]:
    yield head
    for piece in body:
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


def endless(begin: bytes, piece: bytes = b"a" * PIECE) -> Iterator[bytes]:
    """Until the other side has enough, or has taken a gigabyte."""
    yield begin
    for _ in range(1024 * MB // len(piece)):
        yield piece


def file_part(name: str, data: bytes = b"") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    return f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + data


def as_file(name: str, data: bytes) -> bytes:
    return file_part(name, data) + f"\r\n--{BOUNDARY}--\r\n".encode()


CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
    '<Override PartName="/xl/sharedStrings.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
)
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHEET = f'<worksheet xmlns="{_MAIN}"><sheetData>{{}}</sheetData></worksheet>'
STRINGS = f'<sst xmlns="{_MAIN}">{{}}</sst>'
ROW = '<row><c t="inlineStr"><is><t>{}</t></is></c><c t="inlineStr"><is><t>{}</t></is></c></row>'


def workbook(*, sheet: bytes | None = None, strings: bytes | None = None, more: int = 0) -> bytes:
    """An XLSX file by hand, so that each part can be what no program writes."""
    relation = f'<Relationship Id="r{{}}" Type="{_OFFICE}/{{}}" Target="{{}}"/>'
    inner = relation.format(1, "worksheet", "worksheets/sheet1.xml")
    inner += relation.format(2, "sharedStrings", "sharedStrings.xml")
    good = SHEET.format(ROW.format("key", "content") + ROW.format("a", "b")).encode()
    parts = {
        "[Content_Types].xml": CONTENT_TYPES.encode(),
        "_rels/.rels": _RELATIONS.format(relation.format(1, "officeDocument", "xl/workbook.xml")).encode(),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
            '<sheet name="inputs" sheetId="1" r:id="r1"/></sheets></workbook>'
        ).encode(),
        "xl/_rels/workbook.xml.rels": _RELATIONS.format(inner).encode(),
        "xl/sharedStrings.xml": strings or STRINGS.format("").encode(),
        "xl/worksheets/sheet1.xml": sheet or good,
        **{f"x/{n}": b"" for n in range(more)},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def lying(data: bytes, name: bytes, size: int) -> bytes:
    """The same archive with another unpacked size of one part, in its directory and before the part."""
    for magic, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        begin = -1
        while (begin := data.find(magic, begin + 1)) >= 0:
            header = 46 if at == 24 else 30
            if data[begin + header : begin + header + len(name)] == name:
                data = data[: begin + at] + struct.pack("<L", size) + data[begin + at + 4 :]
    return data


def large_directory(entries: int) -> bytes:
    """An archive that is nothing but a list of its parts."""
    one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, *[0] * 3, 1, *[0] * 6) + b"x"
    few = entries % 65_536
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, few, few, len(one) * entries, 0, 0)
    return one * entries + end


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]>"
    + SHEET.format(ROW.format("key", "&a9;"))
).encode()
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    + SHEET.format(ROW.format("key", "content") + ROW.format("a", "&f;"))
).encode()


def _deep(depth: int, begin: bytes = b"", end: bytes = b"") -> bytes:
    return begin + b"[" * depth + b"]" * depth + end


def _whole(data: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def _bomb(name: str, door: str, content_type: str, data: bytes, **more: object) -> Bomb:
    return Bomb(name, door, content_type, _whole(data), length=len(data), **more)  # type: ignore[arg-type]


def _file(name: str, file: str, data: bytes) -> Bomb:
    return _bomb(name, "page", MULTIPART, as_file(file, data))


def all_bombs(*, slow: bool) -> Iterator[Bomb]:
    """Made one by one: some are large, and some slow to make."""
    yield from _of_json()
    yield from _endless()
    yield from _lines()
    yield from _workbooks()
    if slow:
        yield from _permitted_workbooks()
    yield from _parts_and_fields()
    yield from _heads()


def _of_json() -> Iterator[Bomb]:
    deep = _deep(100_000)
    yield _bomb("JSON, 100,000 deep", "api", JSON, deep)
    yield _bomb("JSON, 100,000 deep in a field", "api", JSON, b'{"inputs":' + deep + b"}")
    yield _bomb("JSON, objects 100,000 deep", "api", JSON, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    yield _bomb("JSON, five million lists", "api", JSON, b"[" + b"[]," * 5_000_000 + b"[]]")
    yield _bomb("JSON, seven million numbers", "api", JSON, b"[" + b"1," * 7_000_000 + b"1]")
    yield _bomb("JSON, a number of a million digits", "api", JSON, b'{"inputs": ' + b"9" * MB + b"}")
    yield from _wide_json()
    packed = gzip.compress(b" " * 64 * MB)
    yield _bomb("JSON, gzip", "api", JSON, packed, headers=("Content-Encoding: gzip",))


def _wide_json() -> Iterator[Bomb]:
    """One character beyond the first 65,536 makes a text take four bytes for each that it has."""
    emoji = "\U0001f600".encode()
    text = b"a" * (15 * MB) + emoji
    yield _bomb("JSON, 15 MB and an emoji", "api", JSON, b'{"inputs":"' + text + b'"}')
    yield _bomb("JSON, 15 MB and an emoji in a name", "api", JSON, b'{"' + text + b'":1}')
    one = b'{"inputs":[{"key":"a","content":"' + text + b'"}]}'
    yield _bomb("JSON, 15 MB and an emoji in an input", "api", JSON, one)
    less = b'{"inputs":[{"key":"a","content":"' + b"a" * (7 * MB - 100) + emoji + b'"}]}'
    yield _bomb("JSON, 7 MB and an emoji in an input", "api", JSON, less)
    escaped = one.replace(emoji, rb"\ud83d\ude00")
    yield _bomb("JSON, 15 MB and an emoji as an escape", "api", JSON, escaped)
    rows = [b'{"key":"%d","content":"' % n + b"a" * 1_600 + b'"}' for n in range(9_000)]
    rows.append(b'{"key":"last","content":"' + emoji + b'"}')
    many = b'{"inputs":[' + b",".join(rows) + b"]}"
    yield _bomb("JSON, 15 MB of inputs, one with an emoji", "api", JSON, many, statuses=(201, 409, 413))


def _endless() -> Iterator[Bomb]:
    text = b'{"inputs": "'
    yield Bomb("JSON, a string of 1 GB, in chunks", "api", JSON, lambda: endless(text))
    yield Bomb("JSON, a string of 1 GB", "api", JSON, lambda: endless(text), length=1024 * MB)
    yield Bomb("JSON to log in, 1 GB", "token", JSON, lambda: endless(text))
    yield Bomb("a form to log in, 1 GB", "login", FORM, lambda: endless(b"username="))
    yield Bomb("a file to log in, 1 GB", "login", MULTIPART, lambda: endless(file_part("a.csv")))
    for ending in ("csv", "jsonl", "txt", "xlsx"):
        begin = file_part(f"a.{ending}")
        name = f"a line of 1 GB, {ending}"
        yield Bomb(name, "page", MULTIPART, partial(endless, begin), length=1024 * MB)
        yield Bomb(f"{name}, in chunks", "page", MULTIPART, partial(endless, begin))


def _lines() -> Iterator[Bomb]:
    for ending in ("csv", "jsonl", "txt"):
        yield _file(f"a line of 24 MB, {ending}", f"a.{ending}", b"a" * 24 * MB)
    astral = "\U0001f600".encode()
    yield _file("a line of 24 MB, wide characters", "a.csv", b"key,content\n" + astral * (6 * MB))
    cell = b'key,content\na,"' + (b"a" * 1023 + b"\n") * 24 * 1024 + b'"'
    yield _file("a quoted cell of 24 MB", "a.csv", cell)
    deep = b'{"key":"a","content":"b","metadata":' + _deep(100_000) + b"}\n"
    yield _file("JSONL, a line 100,000 deep", "a.jsonl", deep)
    lists = b'{"key":"a","content":"b","metadata":{"a":[' + b"[]," * 2_500_000 + b"[]]}}\n"
    yield _file("JSONL, millions of lists", "a.jsonl", lists)
    names = json.dumps({f"metadata.{n}": "" for n in range(200_000)}).encode()
    yield _file("JSONL, 200,000 columns", "a.jsonl", names)
    yield _file("CSV, a million columns", "a.csv", b"a," * 1_000_000 + b"\n")
    yield _file("CSV, millions of empty cells", "a.csv", b"key,content\n" + b"," * 7 * MB)
    yield _bomb("pasted, 15 MB in one line", "page", FORM, b"text=key,content%0A" + b"a" * 15 * MB)
    yield _bomb("pasted, 9 MB in one line", "page", FORM, b"text=key,content%0A" + b"a" * 9 * MB)
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="text"\r\n\r\n'.encode()
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    yield _bomb("pasted, 15 MB as a part", "page", MULTIPART, field + b"a" * 15 * MB + end)


def _workbooks() -> Iterator[Bomb]:
    sheet, strings = b"xl/worksheets/sheet1.xml", b"xl/sharedStrings.xml"
    yield _file("XLSX, a sheet of blanks", "a.xlsx", workbook(sheet=SHEET.format(" " * 300 * MB).encode()))
    many = workbook(strings=STRINGS.format("<si><t>a</t></si>" * 12_000_000).encode())
    yield _file("XLSX, shared strings", "a.xlsx", many)
    yield _file("XLSX, shared strings, size understated", "a.xlsx", lying(many, strings, 1_000))
    yield _file("XLSX, size overstated", "a.xlsx", lying(workbook(), sheet, 2**32 - 2))
    yield _file("XLSX, sheet cut off by its size", "a.xlsx", lying(workbook(), sheet, 90))
    yield _file("XLSX, 60,000 parts", "a.xlsx", workbook(more=60_000))
    yield _file("XLSX, a directory of 500,000", "a.xlsx", large_directory(500_000))
    yield _file("XLSX, entities", "a.xlsx", workbook(sheet=LAUGHS))
    yield _file("XLSX, entities in UTF-16", "a.xlsx", workbook(sheet=LAUGHS.decode().encode("utf-16")))
    yield _file("XLSX, an entity from outside", "a.xlsx", workbook(sheet=OUTSIDE))
    yield _file("XLSX, no archive", "a.xlsx", zlib.compress(b"\0" * 100 * MB, 9))


def _permitted_workbooks() -> Iterator[Bomb]:
    """As large, and as packed, as a file may be by its sizes alone."""
    strings = {
        "short": "<si><t>{}</t></si>",
        "empty": "<si/>",
        "long": "<si><t>{} and so on, to the end of the line and the one after it</t></si>",
        "wide": "<si><t>\U0001f600 {} and so on, to the end of the line and the one after it</t></si>",
    }
    for name, item in strings.items():
        packed = workbook(strings=packed_just_so(STRINGS, item))
        yield _file(f"XLSX, just permitted, {name} strings", "a.xlsx", packed)
    rows = {
        "rows": '<row s="{}"/>',
        "cells": "<row>" + '<c s="{}"/>' * 100 + "</row>",
        "texts": "<row>" + '<c t="inlineStr"><is><t>{} to the end</t></is></c>' * 2 + "</row>",
        "one wide row": '<c s="{}"/>',
        "merged cells": '<mergeCell ref="{}"/>',
    }
    for name, item in rows.items():
        yield _file(f"XLSX, just permitted, {name}", "a.xlsx", workbook(sheet=packed_just_so(SHEET, item)))
    rows = "".join(ROW.format(n, "".join(f"{n * 131 + k * k:09}" for k in range(110))) for n in range(60_000))
    yield _handled("XLSX, 60 MB of text", SHEET.format(ROW.format("key", "content") + rows).encode())
    strings = STRINGS.format("".join(f"<si><t>{n:09}{' and so on' * 20}</t></si>" for n in range(190_000)))
    yield _handled("XLSX, 190,000 strings", strings=strings.encode())
    far = '<row r="{}"><c><v>1</v></c></row>'
    for number, status in ((1_048_576, 200), (2_000_000_000, 400)):
        sheet = SHEET.format(far.format(1) + far.format(number)).encode()
        yield _handled(f"XLSX, a row numbered {number:,}", sheet, status=status)
    whole = '<dimension ref="A1:XFD1048576"/><sheetData>'
    sheet = SHEET.replace("<sheetData>", whole).format(far.format(1) + far.format(1_048_576)).encode()
    yield _handled("XLSX, a dimension of everything", sheet)
    long = SHEET.format(f'<row s="{"1" * 300 * MB}"/>').encode()
    yield _file("XLSX, an endless attribute", "a.xlsx", workbook(sheet=long))


def _handled(
    name: str, sheet: bytes | None = None, *, strings: bytes | None = None, status: int = 200
) -> Bomb:
    data = as_file("a.xlsx", workbook(sheet=sheet, strings=strings))
    return _bomb(name, "page", MULTIPART, data, statuses=(status,))


def packed_just_so(part: str, item: str) -> bytes:
    """350 MB of an item, and at the end so much noise that all of it shrinks to just a hundredth."""
    numbers = random.Random(1)
    some = "".join(item.replace("{}", f"{numbers.randrange(100):02}") for _ in range(100))
    whole = part.format(some * (350 * MB // len(some))).encode()
    noise = 2 * (len(whole) // 95 - len(zlib.compress(whole, 9)))  # each of its digits takes half a byte
    comments = (f"<!--{numbers.randbytes(PIECE).hex()}-->" for _ in range(noise // (2 * PIECE)))
    return whole + "".join(comments).encode()


def _parts_and_fields() -> Iterator[Bomb]:
    end = f"--{BOUNDARY}--\r\n".encode()
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode()
    yield _bomb("200,000 parts", "page", MULTIPART, part * 200_000 + end)
    yield _bomb("100,000 files", "page", MULTIPART, file_part("a.csv", b"x\r\n") * 100_000 + end)
    begin = f"--{BOUNDARY}\r\n".encode()
    yield _bomb("one part with an endless head", "page", MULTIPART, begin + b"a" * 20 * MB)
    yield _bomb("a million fields", "page", FORM, b"a=&" * 1_000_000)
    yield _bomb("a million fields to log in", "login", FORM, b"a=&" * 1_000_000)


def _heads() -> Iterator[Bomb]:
    heads: dict[str, tuple[str, ...]] = {
        "headers of 2 MB": tuple(f"X-{n}: {'a' * 60_000}" for n in range(40)),
        "a header of 8 MB": (f"X-A: {'a' * 8 * MB}",),
        "100,000 headers": tuple(f"X-{n}: a" for n in range(100_000)),
        "a cookie of 8 MB": (f"Cookie: {'a=b; ' * 1_600_000}",),
    }
    for name, lines in heads.items():
        yield _bomb(name, "api", JSON, b"{}", headers=lines, statuses=(400, 431))
