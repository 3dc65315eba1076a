"""Connections that the call under way can see and end: requests' adapter with sockets of our own."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from contextvars import ContextVar
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from llm_routing.providers.calls import Call

Address = tuple[Any, ...]  # as the socket module has it: (host, port), longer for IPv6
KEPT_CONNECTIONS = 64

current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


class _Guarded:
    """Where a connection leads is decided here, once, and the call under way holds its socket."""

    host: str
    port: int
    timeout: float | None
    sock: socket.socket | None
    socket_options: list[tuple[int, int, int | bytes]] | None
    _dns_host: str
    _owner: Call | None = None

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
        super().request(*args, **kwargs)  # type: ignore[misc]

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


class Adapter(HTTPAdapter):
    """Keeps connections open for the next call, and never tries anything twice."""

    def __init__(self) -> None:
        super().__init__(pool_connections=4, pool_maxsize=KEPT_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
