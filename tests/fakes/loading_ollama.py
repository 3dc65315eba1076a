"""An Ollama that loads: one model in memory, a parallel limit, a queue without bound, and bad days.

    with LoadingOllama(load_s=5, call_s=0.2, parallel=4) as server: ...

Follows OLLAMA's scheduling: requests for the model in memory wait for a free place; one for another model,
or for other load-time options, waits until all answers are written, and then for the load. A word is a token.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

NS_PER_S = 1_000_000_000
TEMPLATE_TOKENS = 5


@dataclass(frozen=True)
class Bad:
    """An answer that refuses. Status 0: the connection is closed without one; 1: nothing for so long."""

    status: int
    retry_after: str | None = None
    silent_s: float = 0


@dataclass(frozen=True)
class Served:
    """One answer: which call it was, when it came and when it was written, and the last line's facts."""

    model: str
    prompt: str
    came: float  # time.monotonic, as all times here
    began: float
    ended: float
    last: dict[str, Any]


class LoadingOllama:
    """`loads`: (model, num_ctx) in order. `peak`: most calls at a time, empty ones (warm-ups) left out.

    `bad(number)` says, for the n-th call, how it is refused, or None where it is answered.
    """

    def __init__(
        self,
        *,
        load_s: float = 0.0,
        call_s: float = 0.0,
        parallel: int = 64,
        bad: Callable[[int], Bad | None] = lambda number: None,
    ) -> None:
        self.load_s, self.call_s, self.parallel, self.bad = load_s, call_s, parallel, bad
        self.loads: list[tuple[str, int]] = []
        self.warm_ups: list[tuple[str, int]] = []
        self.served: list[Served] = []
        self.refused: list[float] = []
        self.came: list[float] = []
        self.calls: Counter[str] = Counter()
        self.peak = self.now = 0
        self.first_asked: float | None = None
        self._number = 0
        self._running = 0
        self._loading = False
        self._resident: tuple[str, int] | None = None
        self._changed = threading.Condition()
        ollama = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # as real servers

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    ollama._chat(self, body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *_: object) -> None:
                """Clients that are killed go away in the middle."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _chat(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        came = time.monotonic()
        self.first_asked = self.first_asked or came
        key = (body["model"], body["options"]["num_ctx"])
        if not body["messages"]:
            self.warm_ups.append(key)
            self._enter(key)
            self._leave()
            self._send(handler, 200, [{"model": key[0], "done": True, "done_reason": "load"}])
            return
        with self._changed:
            self.came.append(came)
            self._number += 1
            number = self._number
            self.now += 1
            self.peak = max(self.peak, self.now)
        try:
            if (bad := self.bad(number)) is not None:
                self._refuse(handler, bad, came)
                return
            self._answer(handler, body, key, came)
        finally:
            with self._changed:
                self.now -= 1

    def _answer(
        self, handler: BaseHTTPRequestHandler, body: dict[str, Any], key: tuple[str, int], came: float
    ) -> None:
        prompt = body["messages"][-1]["content"]
        tokens = len(prompt.split()) + TEMPLATE_TOKENS
        if tokens > key[1]:
            self._too_long(handler, body, tokens, key[1])
            return
        load_s = self._enter(key)
        began = time.monotonic()
        try:
            time.sleep(self.call_s)
        finally:
            self._leave()
        ended = time.monotonic()
        last = {
            "model": key[0],
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "total_duration": round((ended - came) * NS_PER_S),
            "load_duration": round(load_s * NS_PER_S),
            "prompt_eval_count": tokens,
            "prompt_eval_duration": round((ended - began) / 4 * NS_PER_S),
            "eval_count": 7,
            "eval_duration": round((ended - began) * 3 / 4 * NS_PER_S),
        }
        with self._changed:
            self.calls[prompt] += 1
            self.served.append(Served(key[0], prompt, came, began, ended, last))
        message = {"role": "assistant", "content": f"echo: {prompt}"}
        self._send(handler, 200, [{"model": key[0], "message": message, "done": False}, last])

    def _too_long(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], has: int, fits: int) -> None:
        assert body["truncate"] is False
        assert body["shift"] is False
        text = f"request ({has} tokens) exceeds the available context size ({fits} tokens), try increasing it"
        self._send(handler, 400, [{"error": json.dumps({"error": {"code": 400, "message": text}})}])

    def unload(self) -> None:
        """As after five minutes without a request."""
        with self._changed:
            self._resident = None

    def _refuse(self, handler: BaseHTTPRequestHandler, bad: Bad, came: float) -> None:
        self.refused.append(came)
        if bad.silent_s:
            time.sleep(bad.silent_s)
        if not bad.status or bad.silent_s:
            handler.close_connection = True
            return
        text = "server busy, please try again.  maximum pending requests exceeded"
        extra = {"Retry-After": bad.retry_after} if bad.retry_after else {}
        self._send(handler, bad.status, [{"error": text}], extra)

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        lines: list[dict[str, Any]],
        headers: dict[str, str] | None = None,
    ) -> None:
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-ndjson")
        handler.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def _enter(self, key: tuple[str, int]) -> float:
        """Wait for the model and for a place. Seconds that the model took to be there."""
        asked = time.monotonic()
        with self._changed:
            while self._resident != key or self._loading:
                if not self._loading and not self._running:
                    self._load(key)
                else:
                    self._changed.wait(0.5)
            load_s = time.monotonic() - asked
            while self._running >= self.parallel:
                self._changed.wait(0.5)
                if self._resident != key:
                    return load_s + self._enter(key)
            self._running += 1
        return load_s

    def _load(self, key: tuple[str, int]) -> None:
        self._loading = True
        self.loads.append(key)
        self._changed.release()
        try:
            time.sleep(self.load_s)
        finally:
            self._changed.acquire()
        self._resident = key
        self._loading = False
        self._changed.notify_all()

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()
