"""An Ollama that answers after a fixed time, as cheaply as Python can: the measured is the product.

Run: python -m benchmarks.provider PORT LATENCY_MS. Knows the lists, `/api/chat`, and two routes of its
own: `GET /stats` tells calls, the most at a time, and the seconds from the first request to the last
answer; `POST /reset` begins anew.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

MODEL = "fixed:1b"
NS_PER_MS = 1_000_000


def _chunk(value: object) -> bytes:
    line = json.dumps(value).encode() + b"\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


def _answer(latency_ms: float) -> bytes:
    message = {"role": "assistant", "content": "positive"}
    decode = int(latency_ms * NS_PER_MS)
    last = {
        "model": MODEL,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": decode + 2,
        "load_duration": 1,
        "prompt_eval_count": 20,
        "prompt_eval_duration": 1,
        "eval_count": 5,
        "eval_duration": decode or 1,
    }
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = _chunk({"model": MODEL, "message": message, "done": False}) + _chunk(last)
    return head + pieces + b"0\r\n\r\n"


class Stats:
    def __init__(self) -> None:
        self.calls = self.now = self.peak = 0
        self.first = self.last = 0.0

    def begin(self) -> None:
        self.calls += 1
        self.now += 1
        self.peak = max(self.peak, self.now)
        self.first = self.first or time.monotonic()

    def end(self) -> None:
        self.now -= 1
        self.last = time.monotonic()


class Connection(asyncio.Protocol):
    stats = Stats()
    answer = b""
    latency_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        head, found, rest = self.pending.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(rest) < length:
            return
        self.pending = rest[length:]
        self.respond(head.split(b" ", 2)[1].decode())

    def respond(self, path: str) -> None:
        if path == "/api/chat":
            Connection.stats.begin()
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self.finish)
            else:
                self.finish()
            return
        if path == "/reset":
            Connection.stats = Stats()
        stats = Connection.stats
        body = {
            "/api/tags": {
                "models": [{"name": MODEL, "digest": "f1" * 32, "details": {"context_length": 8192}}]
            },
            "/api/version": {"version": "0.33.0"},
        }.get(path) or {"calls": stats.calls, "peak": stats.peak, "makespan_s": stats.last - stats.first}
        text = json.dumps(body).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text)
            + text
        )

    def finish(self) -> None:
        Connection.stats.end()
        self.transport.write(Connection.answer)


async def serve(port: int, latency_ms: float) -> None:
    Connection.answer = _answer(latency_ms)
    Connection.latency_s = latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
