"""A model server that answers as badly as it can: what it does is named by the last word of the prompt.

It speaks both kinds of provider, and each answer is written to the socket byte by byte as it stands here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from tests.chaos.provider import FastOllama

MB = 1024 * 1024
OK = "succeeded"
BROKEN, UNAVAILABLE, LATE = "PROVIDER_ERROR", "PROVIDER_UNAVAILABLE", "PROVIDER_TIMEOUT"
SCRIPT = "<script>alert('owned')</script>"
NAN, INFINITY = float("nan"), float("inf")


class Wire:
    """What can be written to the client, in the words of one kind of provider."""

    def __init__(self, kind: str, writer: asyncio.StreamWriter) -> None:
        self.is_ollama = kind == "ollama"
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(
        self, *headers: str, status: int = 200, content_type: str = "", chunked: bool = True
    ) -> None:
        usual = "application/x-ndjson" if self.is_ollama else "text/event-stream"
        lines = [f"HTTP/1.1 {status} Any", f"Content-Type: {content_type or usual}", *headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        await self.raw("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def over(self) -> None:
        await self.raw(b"0\r\n\r\n")

    def line(self, value: Any) -> bytes:
        """A value as a line of the stream; bytes are taken for JSON as they are."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return data + b"\n" if self.is_ollama else b"data: " + data + b"\n\n"

    def piece(self, content: Any = "", **more: Any) -> bytes:
        message = {"role": "assistant", "content": content, **more}
        if self.is_ollama:
            return self.line({"model": "m", "message": message, "done": False})
        return self.line({"choices": [{"index": 0, "delta": message, "finish_reason": None}]})

    def end(self, prompt: Any = 7, answer: Any = 5, duration: Any = 1_000_000) -> bytes:
        """The mark that an answer is complete, with its counts."""
        if self.is_ollama:
            counts = {"prompt_eval_count": prompt, "eval_count": answer}
            times = {"total_duration": duration, "load_duration": duration, "eval_duration": duration}
            message = {"role": "assistant", "content": ""}
            return self.line({"message": message, "done": True, "done_reason": "stop", **counts, **times})
        usage = {"prompt_tokens": prompt, "completion_tokens": answer}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        timings = {"prompt_ms": duration, "predicted_ms": duration}
        return (
            self.line(last)
            + self.line({"choices": [], "usage": usage, "timings": timings})
            + self.line(b"[DONE]")
        )

    async def stream(self, *parts: bytes) -> None:
        """A well-formed answer of these lines, each in a chunk of its own."""
        await self.head()
        for part in parts:
            await self.chunk(part)
        await self.over()

    async def complete(self, *parts: bytes, **end: Any) -> None:
        await self.stream(*parts, self.end(**end))

    def reset(self) -> None:
        """Break the connection off, with a reset in place of an orderly end."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Play = Callable[[Wire], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """`ends` are the outcomes that are right: `succeeded`, or an error code.

    A flood keeps both sides busy; others beside it would be late through no fault of theirs.
    """

    play: Play
    ends: tuple[str, ...]
    flood: bool
    output: str | None = None  # what is shown of a successful one; None: not looked at


ANSWERS: dict[str, Answer] = {}


def answer(*ends: str, output: str | None = None, flood: bool = False) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        ANSWERS[play.__name__] = Answer(play, ends, flood, output)
        return play

    return add


# Texts


@answer(OK, output="a\ufffdb")
async def nul(wire: Wire) -> None:
    await wire.complete(wire.piece("a\0b"))


@answer(OK, output="\ufffd and \ufffd")
async def lone_surrogates(wire: Wire) -> None:
    await wire.complete(wire.piece("\ud800 and \udfff"))


@answer(OK, output="\ufffd\ufffd")
async def pair_of_surrogates_in_two_pieces(wire: Wire) -> None:
    await wire.complete(wire.piece("\ud83d"), wire.piece("\ude00"))


@answer(OK)
async def no_utf8(wire: Wire) -> None:
    await wire.complete(wire.piece("XX").replace(b"XX", b"\xff\xfe\xc0\x80"))


@answer(BROKEN)
async def utf16(wire: Wire) -> None:
    await wire.stream((wire.piece("hello") + wire.end()).decode().encode("utf-16"))


@answer(OK, output=SCRIPT)
async def script(wire: Wire) -> None:
    await wire.complete(wire.piece(SCRIPT))


@answer(OK)
async def terminal_codes_and_right_to_left(wire: Wire) -> None:
    await wire.complete(wire.piece("\x1b[2J\x07\u202egnp.exe\u2066\ufeff\r\n\t\x7f"))


@answer(OK, flood=True)
async def a_million_characters(wire: Wire) -> None:
    await wire.complete(*repeat(wire.piece("x" * 99_999), 10), wire.piece("\U0001f600"))


@answer(OK, flood=True)
async def a_quarter_of_a_million_characters_of_four_bytes(wire: Wire) -> None:
    await wire.complete(*repeat(wire.piece("\U0001f600" * 24_999), 10))


@answer(OK, output="ab" * 10_000, flood=True)
async def ten_thousand_small_pieces(wire: Wire) -> None:
    await wire.complete(*repeat(wire.piece("ab") * 100, 100))


# Sizes


@answer(BROKEN, flood=True)
async def twenty_megabytes_in_a_line(wire: Wire) -> None:
    await wire.stream(wire.piece("x" * 20 * MB))


@answer(BROKEN, flood=True)
async def twenty_megabytes_in_lines(wire: Wire) -> None:
    await wire.stream(*repeat(wire.piece("x" * 100_000), 210))


@answer(BROKEN, flood=True)
async def endless_line(wire: Wire) -> None:
    await wire.head()
    while True:
        await wire.chunk(b"x" * 65_536)


@answer(BROKEN, LATE, flood=True)
async def endless_pieces(wire: Wire) -> None:
    await wire.head()
    while True:
        await wire.chunk(wire.piece("and so on ") * 100)


@answer(LATE, flood=True)
async def endless_empty_pieces(wire: Wire) -> None:
    await wire.head()
    while True:
        await wire.chunk(wire.piece() * 10)
        await asyncio.sleep(0.01)


@answer(LATE, flood=True)
async def endless_empty_lines(wire: Wire) -> None:
    await wire.head()
    while True:
        await wire.chunk(b"\n" * 1_000)
        await asyncio.sleep(0.01)


@answer(BROKEN, LATE, flood=True)
async def gzip_bomb(wire: Wire) -> None:
    await wire.head("Content-Encoding: gzip")
    bomb = gzip.compress(b"\0" * 64 * MB)
    for _ in range(8):
        await wire.chunk(bomb)
    await wire.over()


@answer(BROKEN)
async def gzip_that_is_none(wire: Wire) -> None:
    await wire.head("Content-Encoding: gzip")
    await wire.chunk(wire.piece("plain") + wire.end())
    await wire.over()


@answer(BROKEN, flood=True)
async def twenty_megabytes_of_refusal(wire: Wire) -> None:
    await wire.head(status=400, content_type="text/plain")
    for _ in range(20):
        await wire.chunk(b"no " * (MB // 3))
    await wire.over()


# Times


@answer(LATE)
async def one_byte_a_second(wire: Wire) -> None:
    await wire.head()
    for byte in wire.piece("slow"):
        await wire.chunk(bytes([byte]))
        await asyncio.sleep(1)


@answer(LATE)
async def silence_before_the_head(wire: Wire) -> None:
    await asyncio.sleep(30)


@answer(LATE)
async def silence_in_the_middle(wire: Wire) -> None:
    await wire.head()
    await wire.chunk(wire.piece("one moment"))
    await asyncio.sleep(30)


@answer(LATE)
async def head_of_one_byte_a_second(wire: Wire) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n":
        await wire.raw(bytes([byte]))
        await asyncio.sleep(1)


# Lines


@answer(BROKEN)
async def broken_line(wire: Wire) -> None:
    await wire.stream(wire.piece("good"), wire.line(b'{"message": {"content": "ba'), wire.end())


@answer(BROKEN, flood=True)
async def a_bomb_of_values(wire: Wire) -> None:
    await wire.stream(wire.line(b'{"message":[' + b"{}," * 330_000 + b"{}]}"), wire.end())


@answer(BROKEN, flood=True)
async def bombs_of_tool_calls(wire: Wire) -> None:
    values = [{}] * 10_000
    function = {"name": "f", "arguments": values if wire.is_ollama else json.dumps(values)}
    await wire.complete(*repeat(wire.piece(tool_calls=[{"function": function}]), 30))


@answer(BROKEN, flood=True)
async def an_endless_body(wire: Wire) -> None:
    await wire.head(content_type="application/json")
    while True:
        await wire.chunk(b"[" + b"1," * 32_768)


@answer(BROKEN)
async def lines_that_are_no_objects(wire: Wire) -> None:
    await wire.stream(wire.line(b"[1, 2]"), wire.end())


@answer(BROKEN, flood=True)
async def deep_json(wire: Wire) -> None:
    await wire.stream(wire.line(b'{"message":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), wire.end())


@answer(BROKEN, OK)
async def deep_tool_call(wire: Wire) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"d": deep}
    call = {"function": {"name": "f", "arguments": deep}}
    await wire.complete(wire.piece("x", tool_calls=[call]))


@answer(OK)
async def tool_calls_of_other_types(wire: Wire) -> None:
    await wire.complete(
        wire.piece("x", tool_calls=[7, None, {"function": 3}, {"id": NAN, "function": {"name": []}}])
    )


@answer(BROKEN, OK)
async def messages_of_other_types(wire: Wire) -> None:
    lines = [{"message": 1, "choices": 2}, {"message": [], "choices": [3]}, {"choices": [{"delta": "text"}]}]
    await wire.complete(*[wire.line(line) for line in lines])


@answer(BROKEN)
async def a_page_with_200(wire: Wire) -> None:
    await wire.head(content_type="text/html")
    await wire.chunk(f"<!doctype html><title>Welcome to nginx</title>{SCRIPT}".encode())
    await wire.over()


@answer(BROKEN)
async def error_in_the_stream(wire: Wire) -> None:
    await wire.stream(wire.piece("so"), wire.line({"error": f"{SCRIPT}\0\ud800"}))


@answer(BROKEN)
async def error_that_is_no_text(wire: Wire) -> None:
    await wire.stream(wire.line({"error": {"message": [SCRIPT], "code": {"deep": NAN}}}))


@answer(OK)
async def double_end(wire: Wire) -> None:
    await wire.stream(wire.piece("one"), wire.end(), wire.piece("two"), wire.end())


@answer(BROKEN)
async def no_end(wire: Wire) -> None:
    await wire.stream(wire.piece("this is all"))


@answer(BROKEN)
async def nothing_at_all(wire: Wire) -> None:
    await wire.stream()


# Counts


@answer(OK)
async def negative_counts(wire: Wire) -> None:
    await wire.complete(wire.piece("x"), prompt=-1, answer=-(2**63), duration=-5)


@answer(OK)
async def huge_counts(wire: Wire) -> None:
    await wire.complete(wire.piece("x"), prompt=10**40, answer=1e300, duration=10**40)


@answer(OK)
async def counts_that_are_no_numbers(wire: Wire) -> None:
    await wire.complete(wire.piece("x"), prompt=NAN, answer=INFINITY, duration=-INFINITY)


@answer(OK)
async def counts_of_other_types(wire: Wire) -> None:
    await wire.complete(wire.piece("x"), prompt="seven", answer=[5], duration={"ms": 1})


# HTTP


@answer(BROKEN)
async def cut_in_the_middle(wire: Wire) -> None:
    await wire.head()
    await wire.raw(b"400\r\n" + wire.piece("half of it"))


@answer(BROKEN)
async def reset_in_the_middle(wire: Wire) -> None:
    await wire.head()
    await wire.chunk(wire.piece("half of it"))
    await asyncio.sleep(0.1)
    wire.reset()


@answer(UNAVAILABLE)
async def closed_unanswered(wire: Wire) -> None:
    wire.reset()


@answer(UNAVAILABLE)
async def no_http(wire: Wire) -> None:
    await wire.raw(b"SSH-2.0-OpenSSH_9.9\r\n")


@answer(UNAVAILABLE)
async def huge_header(wire: Wire) -> None:
    await wire.head(f"X-Huge: {'x' * MB}")


@answer(UNAVAILABLE)
async def a_thousand_headers(wire: Wire) -> None:
    await wire.head(*[f"X-{number}: x" for number in range(1_000)])


@answer(LATE, flood=True)
async def storm_of_100_continue(wire: Wire) -> None:
    while True:
        await wire.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
        await asyncio.sleep(0.01)


@answer(OK, output="at last")
async def hints_before_the_answer(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    await wire.complete(wire.piece("at last"))


@answer(BROKEN)
async def another_protocol(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")


@answer(LATE)
async def early_hints_for_ever(wire: Wire) -> None:
    while True:
        await wire.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await asyncio.sleep(0.01)


@answer(BROKEN)
async def redirect_elsewhere(wire: Wire) -> None:
    await wire.head("Location: http://169.254.169.254/latest/meta-data", status=307)
    await wire.over()


@answer(BROKEN)
async def redirect_to_itself(wire: Wire) -> None:
    await wire.head("Location: /api/chat", status=308)
    await wire.over()


@answer(BROKEN)
async def bad_chunk_size(wire: Wire) -> None:
    await wire.head()
    await wire.raw(b"zz\r\n" + wire.piece("x") + b"\r\n")


@answer(BROKEN)
async def enormous_chunk_size(wire: Wire) -> None:
    await wire.head()
    await wire.raw(b"ffffffffffffffff\r\n" + wire.piece("x"))


@answer(BROKEN)
async def shorter_than_promised(wire: Wire) -> None:
    await wire.head("Content-Length: 1000000", chunked=False)
    await wire.raw(wire.piece("x"))


@answer(BROKEN, UNAVAILABLE)
async def impossible_status(wire: Wire) -> None:
    await wire.head(status=999)
    await wire.over()


@answer(BROKEN)
async def no_content(wire: Wire) -> None:
    await wire.head(status=204, chunked=False)


@answer(UNAVAILABLE)
async def busy_until_never(wire: Wire) -> None:
    await wire.head("Retry-After: nan", status=503)
    await wire.over()


class HostileServer(FastOllama):
    """Both kinds under one address: the path tells which one is meant."""

    async def _chat(self, body: dict, writer: asyncio.StreamWriter, kind: str) -> bool:
        if not body["messages"]:
            return await self._load(body, writer)
        prompt = body["messages"][-1]["content"]
        self.calls[prompt] += 1
        with contextlib.suppress(ConnectionError):
            await ANSWERS[prompt.split()[-1]].play(Wire(kind, writer))
        return False
