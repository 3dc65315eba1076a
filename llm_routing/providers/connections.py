"""Connections that the call under way can see and end: urllib3's pools with sockets of our own."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import queue
import socket
import ssl
import threading
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationValueError
from urllib3.util import Url

from llm_routing.providers.calls import Call

Address = tuple[Any, ...]  # as the socket module has it: (host, port), longer for IPv6
KEPT_CONNECTIONS = 64
SWITCHES = 101  # to another protocol: nothing of HTTP follows

current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


class _Source(io.RawIOBase):
    """What a socket brings. `spent`: nothing more is asked of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", buffering=0)
        self.spent = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return None if self.spent else self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Reader(io.BufferedReader):
    """Reads one answer, and ends the connection where more lies behind it: the next call would get that."""

    def __init__(self, sock: socket.socket) -> None:
        self._source = _Source(sock)
        self._sock = sock
        super().__init__(self._source)

    def close(self) -> None:
        if not self.closed and self._holds_more():
            with contextlib.suppress(OSError):  # it has just ended by itself
                self._sock.shutdown(socket.SHUT_RDWR)
        super().close()

    def _holds_more(self) -> bool:
        """Read and not used, here or under TLS. What is still on its way the pool sees at the next use."""
        self._source.spent = True
        pending = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return bool(pending or self.peek(1))


class _Answer(HTTPResponse):
    """An answer that leaves its connection to another call only where nothing about it is doubtful."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = _Reader(sock)

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != SWITCHES:
            # On the way to the answer, which is still to come. Only its time bounds how many there are.
            self.headers = self.msg = None  # type: ignore[assignment] # or nothing more is read
            super().begin()
        if not (200 <= self.status < 300 and self._tells_its_end_once()):
            # A server that refuses may not have read the request, and take what is left for the next one.
            self.will_close = True

    def _tells_its_end_once(self) -> bool:
        told = [self.headers.get_all(name, []) for name in ("Content-Length", "Transfer-Encoding")]
        return sum(map(len, told)) == 1


class _Guarded:
    """Where a connection leads is decided here, once, and the call under way holds its socket."""

    response_class: type[HTTPResponse] = _Answer
    host: str
    port: int
    timeout: float | None
    sock: socket.socket | None
    socket_options: list[tuple[int, int, int | bytes]] | None
    _dns_host: str
    _owner: Call | None = None
    _gathered: list[bytes] | None = None  # of the request that is being written

    def addresses(self, call: Call | None) -> list[tuple[socket.AddressFamily, Address]]:
        """Where this connection may go. The name is resolved once, and exactly these are connected to.

        Raises what the call's guard raises where one of them is off limits.
        """
        found = resolve(self._dns_host, self.port, call)
        if call is not None and call.guard is not None:
            for _, address in found:
                call.guard(str(address[0]))
        return found

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if self._owner is not None:
            self._owner.enter("first_token")

    def request(self, *args: Any, **kwargs: Any) -> None:
        call = current_call.get()
        if call is not None and self.sock is not None and self._owner is not call:
            if self._owner is not None:
                self._owner.detach()  # its late cancel must not end our call
            self._owner = call
            call.reused = True
            call.attach(self.sock)
            call.enter("first_token")
        gathered: list[bytes] = []
        self._gathered = gathered
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._gathered = None
        self.send(b"".join(gathered))

    def send(self, data: Any) -> None:
        """Head and body go out together: sixty threads that send wait for each other at every write."""
        if self._gathered is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._gathered.append(data)

    def _new_conn(self) -> socket.socket:
        call = self._owner = current_call.get()
        failure: OSError = OSError(f"{self._dns_host} has no address")
        for family, address in self.addresses(call):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(self.timeout)
                if call is not None:
                    call.attach(sock)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure


def resolve(host: str, port: int, call: Call | None) -> list[tuple[socket.AddressFamily, Address]]:
    """The addresses of a host, in the order to try. Ends when the call does. Raises OSError."""
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if call is not None:
            return _resolve_aside(host, port, call)
    return _lookup(host, port)


def _lookup(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host} is no name of a host") from error
    return [(family, address) for family, _, _, _, address in found]


def _resolve_aside(host: str, port: int, call: Call) -> list[tuple[socket.AddressFamily, Address]]:
    # getaddrinfo can take minutes, and nothing can end it: a thread of its own may be left behind.
    answers: queue.SimpleQueue[list[tuple[socket.AddressFamily, Address]] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_lookup(host, port))
        except OSError as error:
            answers.put(error)

    call.waiting(lambda: answers.put(OSError("the call is over")))
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    answer = answers.get()
    call.waiting(None)
    if isinstance(answer, OSError):
        raise answer
    return answer


class _Connection(_Guarded, HTTPConnection):
    pass


class _SecureConnection(_Guarded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


Pool = HTTPConnectionPool | HTTPSConnectionPool


def pool_for(address: Url, *, ca_file: str) -> Pool:
    """Keeps connections to one server open for the next call, and never tries anything twice.

    Raises LocationValueError where the address names no host.
    """
    if not address.host:
        raise LocationValueError("no host")
    if address.scheme == "https":
        return _SecurePool(
            address.host,
            address.port,
            maxsize=KEPT_CONNECTIONS,
            cert_reqs="CERT_REQUIRED",
            ca_certs=ca_file,
        )
    return _Pool(address.host, address.port, maxsize=KEPT_CONNECTIONS)
