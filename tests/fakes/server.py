"""A scripted HTTP server on a real socket, for tests: it says what it is told to, byte by byte.

    with FakeServer() as server:
        server.enqueue(Script([b"hello", Pause(0.1), b" world"]))

Each request takes the next script. It records what it was asked, how many requests were under way at
once, and when a client went away.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

LONGEST_PAUSE_S = 20.0  # a test that never lets go ends all the same


@dataclass(frozen=True)
class Pause:
    """Silence for so many seconds; ends early when the client goes away, or when the test says so."""

    seconds: float = LONGEST_PAUSE_S
    until: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class Dribble:
    """The bytes one by one, with a pause after each."""

    data: bytes
    pause_s: float


@dataclass(frozen=True)
class Endless:
    """The same bytes for ever, or until the client goes away."""

    data: bytes


class Cut:
    """The connection is closed here, without the mark that ends an answer."""


Step = bytes | Pause | Dribble | Endless | Cut


@dataclass(frozen=True)
class Script:
    """One answer. Each of the bytes in `steps` is a write of its own; `before` precedes the status line."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    before: Sequence[Step] = ()
    close_after: bool = False  # end the kept connection after this answer, without having said so
    raw: bytes | None = None  # the answer with its head, as it stands and in one write; nothing else is sent


def json_script(body: Any, *, status: int = 200, **more: Any) -> Script:
    return Script([json.dumps(body).encode()], status=status, **more)


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int  # which connection it came over
    at: float = field(default_factory=time.monotonic)
    left_at: float | None = None  # when the client went away in the middle
    done: threading.Event = field(default_factory=threading.Event)


class _Gone(Exception):
    pass


class FakeServer:
    """Listens on loopback while in use as a context manager."""

    def __init__(self, tls: Any = None) -> None:
        self.requests: list[Seen] = []
        self.peak = 0
        self._tls = tls
        self._now = 0
        self._scripts: deque[Script] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._connections = 0
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # to close it wakes nobody who waits in accept
        self._listener.close()
        for connection in list(self._open):
            connection.close()

    def enqueue(self, *scripts: Script) -> None:
        """Answers for the next requests, in order."""
        self._scripts.extend(scripts)

    def default(self, seen: Seen) -> Script:
        """The answer where none was enqueued."""
        return json_script({"error": "nothing was enqueued"}, status=500)

    def wait_for_request(self, number: int = 1) -> Seen:
        _until(lambda: len(self.requests) >= number, "no request came")
        return self.requests[number - 1]

    def wait_until_left(self, seen: Seen) -> float:
        """Seconds from the request to the moment when the client went away."""
        _until(lambda: seen.left_at is not None, "the client did not go away")
        assert seen.left_at is not None
        return seen.left_at - seen.at

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections += 1
            number = self._connections
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            with connection, connection.makefile("rb") as reader:
                while (seen := _read_request(reader, number)) and self._answer(connection, seen):
                    pass
        except OSError:
            pass
        finally:
            self._open.discard(connection)

    def _answer(self, connection: socket.socket, seen: Seen) -> bool:
        with self._lock:
            self.requests.append(seen)
            self._now += 1
            self.peak = max(self.peak, self._now)
            script = self._scripts.popleft() if self._scripts else self.default(seen)
        try:
            return self._play(connection, script)
        except (_Gone, OSError):
            seen.left_at = time.monotonic()
            return False
        finally:
            with self._lock:
                self._now -= 1
            seen.done.set()

    def _play(self, connection: socket.socket, script: Script) -> bool:
        if script.raw is not None:
            connection.sendall(script.raw)
            return True
        for step in script.before:
            if isinstance(step, Cut):
                return False
            self._take(connection, step, chunked=False)
        headers = {"Content-Type": script.content_type, "Transfer-Encoding": "chunked", **script.headers}
        lines = [f"HTTP/1.1 {script.status} Any", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        for step in script.steps:
            if isinstance(step, Cut):
                return False
            self._take(connection, step, chunked=True)
        connection.sendall(b"0\r\n\r\n")
        return not script.close_after

    def _take(self, connection: socket.socket, step: Step, *, chunked: bool) -> None:
        def send(data: bytes) -> None:
            connection.sendall(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)

        match step:
            case bytes():
                send(step)
            case Pause(seconds, until):
                self._wait(connection, seconds, until)
            case Dribble(data, pause_s):
                for byte in data:
                    send(bytes([byte]))
                    self._wait(connection, pause_s)
            case Endless(data):
                while not self._stopping.is_set():
                    send(data)

    def _wait(self, connection: socket.socket, seconds: float, until: threading.Event | None = None) -> None:
        end = time.monotonic() + seconds
        readable = select.poll()  # `select` knows only the first 1,024 descriptors of a process
        readable.register(connection, select.POLLIN)
        while (left := end - time.monotonic()) > 0 and not (until and until.is_set()):
            if self._stopping.is_set():
                raise _Gone
            if readable.poll(min(left, 0.05) * 1000) and not connection.recv(1):
                raise _Gone


def _read_request(reader: Any, connection: int) -> Seen | None:
    first = reader.readline().split()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := reader.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    raw = reader.read(int(headers.get("content-length", 0)))
    return Seen(first[0].decode(), first[1].decode(), headers, json.loads(raw) if raw else None, connection)


def _until(true: Any, otherwise: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.005)
