"""A fast scripted model server with Ollama's streams, for many calls at a time, and with faults.

It runs on an event loop in a thread of the harness, and counts what reaches it: by prompt, at the
same time, and while it refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

MODEL = "tiny:1b"
NS = 1_000_000
CHATS = {"/api/chat": "ollama", "/v1/chat/completions": "openai_compatible"}
TAGS = {"models": [{"name": MODEL, "model": MODEL, "digest": "d1g357", "details": {}}]}


class FastOllama:
    """A context manager. `delay_s` is the length of each answer; the rest is for reading and for faults.

    `when_asked` is called with the prompt and the caller's port, as soon as a call is there.
    """

    def __init__(self, *, delay_s: float = 0.05) -> None:
        self.delay_s = delay_s
        self.calls: Counter[str] = Counter()
        self.load_s = 0.0  # how long loading a model takes
        self.refused = 0
        self.peak = self.now = 0
        self.left = 0
        self.when_asked: Callable[[str, int], None] | None = None
        self.rejects = False  # every call, as one that is wrong
        self._outage_until = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="provider", daemon=True)
        self._up = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def forget(self, *, delay_s: float = 0.05) -> None:
        """Begin anew: no faults, nothing counted."""
        self.delay_s = delay_s
        self.calls = Counter()
        self.refused = self.peak = self.left = 0
        self.when_asked = None
        self._outage_until = 0.0

    def refuse_for(self, seconds: float) -> None:
        """Answer 503 for so long, as a server that is too busy does."""
        self._outage_until = time.monotonic() + seconds

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        if kind := CHATS.get(path):
            return await self._chat(json.loads(body), writer, kind)
        if path == "/api/tags":
            _write_json(writer, 200, TAGS)
        elif path == "/api/version":
            _write_json(writer, 200, {"version": "0.33.0"})
        else:
            _write_json(writer, 404, {"error": "page not found"})
        await writer.drain()
        return True

    async def _chat(self, body: dict, writer: asyncio.StreamWriter, kind: str) -> bool:
        """Answer one call. False where the connection ends with it."""
        if not body["messages"]:
            return await self._load(body, writer)
        prompt = body["messages"][-1]["content"]
        self.calls[prompt] += 1
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            if self.when_asked:
                self.when_asked(prompt, writer.get_extra_info("peername")[1])
            if time.monotonic() < self._outage_until:
                self.refused += 1
                busy = "server busy, please try again.  maximum pending requests exceeded"
                _write_json(writer, 503, {"error": busy})
                await writer.drain()
                return True
            if self.rejects:
                _write_json(writer, 400, {"error": "this cannot be answered"})
                await writer.drain()
                return True
            await asyncio.sleep(self.delay_s)
            writer.write(answer(body["model"], f"echo: {prompt}"))
            await writer.drain()
            return True
        except ConnectionError:
            self.left += 1
            return False
        finally:
            self.now -= 1

    async def _load(self, body: dict, writer: asyncio.StreamWriter) -> bool:
        """A request without messages loads the model: it is no call."""
        await asyncio.sleep(self.load_s)
        loaded = {"model": body["model"], "message": {"role": "assistant", "content": ""}}
        line = json.dumps({**loaded, "done": True, "done_reason": "load"}).encode() + b"\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + _chunk(line) + b"0\r\n\r\n")
        await writer.drain()
        return True


def answer(model: str, text: str) -> bytes:
    """A whole streamed answer in two lines."""
    first = {"model": model, "message": {"role": "assistant", "content": text}, "done": False}
    last = {
        "model": model, "message": {"role": "assistant", "content": ""}, "done": True,
        "done_reason": "stop", "total_duration": 9 * NS, "load_duration": 1 * NS,
        "prompt_eval_count": 7, "prompt_eval_duration": 2 * NS, "eval_count": 5, "eval_duration": 5 * NS,
    }  # fmt: skip
    body = b"".join(_chunk(json.dumps(line).encode() + b"\n") for line in (first, last))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _write_json(writer: asyncio.StreamWriter, status: int, value: object) -> None:
    data = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
