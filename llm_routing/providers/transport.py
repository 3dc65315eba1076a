"""HTTP to one server: bounded in every way, and ended from outside at any moment.

A call's socket is registered with its `CallHandle`, so that another thread can shut it down;
closing a streamed request is how all servers we talk to are told to stop generating.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from llm_routing.errors import AnswerTooLarge, BrokenStream, Cancelled, ProviderTimeout, ProviderUnavailable
from llm_routing.types import Limits

LONGEST_LINE = 8 * 1024 * 1024  # bytes
LONGEST_ERROR = 64 * 1024  # bytes of an error's body that are read
LONGEST_LIST = 16 * 1024 * 1024  # bytes of a list of models
LONGEST_RETRY_AFTER_S = 600.0
READ_AT_ONCE = 65_536
BYTES_PER_CHARACTER = 16  # of an answer, with the JSON around each piece of it

_calling = threading.local()


class CallHandle:
    """Ends a call from any thread, whether it waits for the first byte or is in the middle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.cancelled = False

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # the call has just ended by itself
                    self._socket.shutdown(socket.SHUT_RDWR)

    def attach(self, sock: socket.socket | None) -> None:
        """Name the socket that the call uses now; None when it uses none any more. Raises Cancelled."""
        with self._lock:
            self._socket = sock
            if self.cancelled and sock is not None:
                raise Cancelled("The request was cancelled.")

    def wait_at_most(self, seconds: float) -> None:
        """The next read gives up after so long."""
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):  # closed: the read itself will say so
                    self._socket.settimeout(max(seconds, 0.001))


class _Registered:
    """Tells the call under way in this thread which socket it got, new or from the pool."""

    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._register()

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self._register()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def _register(self) -> None:
        handle = getattr(_calling, "handle", None)
        if handle is not None:
            handle.attach(self.sock)


class _Connection(_Registered, HTTPConnection):
    pass


class _SecureConnection(_Registered, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # type: ignore[assignment]


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class Transport:
    """Requests to one base URL. Headers (which may hold a key) go to that server and nowhere else."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc of the machine
        self._session.headers.update(headers or {})
        adapter = _Adapter(pool_connections=4, pool_maxsize=64, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def open(
        self, method: str, path: str, body: Any = None, *, limits: Limits, handle: CallHandle | None = None
    ) -> Exchange:
        """Send a request and wait for the answer's head.

        Raises ProviderUnavailable, ProviderTimeout, BrokenStream or Cancelled.
        """
        handle = handle or CallHandle()
        started = time.monotonic()
        _calling.handle = handle
        try:
            handle.attach(None)
            if handle.cancelled:
                raise Cancelled("The request was cancelled.")
            response = self._session.request(
                method,
                self.base_url + path,
                json=body,
                stream=True,
                allow_redirects=False,
                timeout=(limits.connect_s, min(limits.first_token_s, limits.total_s)),
            )
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._named(error, handle, limits) from error
        finally:
            _calling.handle = None
        return Exchange(response, handle, limits, started, self.base_url)

    def _named(self, error: Exception, handle: CallHandle, limits: Limits) -> Exception:
        """Our name for what went wrong before the answer began. Never repeats the request."""
        if handle.cancelled:
            return Cancelled("The request was cancelled.")
        if isinstance(error, requests.ConnectTimeout):
            return ProviderTimeout(
                f"The server at {self.base_url} did not accept a connection in {limits.connect_s:g} s.",
                phase="connect",
            )
        if isinstance(error, requests.Timeout):
            return ProviderTimeout(
                f"The server at {self.base_url} did not begin to answer in {limits.first_token_s:g} s.",
                phase="first_token",
            )
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return ProviderUnavailable(f"The address {self.base_url} is not valid.")
        return ProviderUnavailable(f"The server at {self.base_url} cannot be reached.")

    def get_json(self, path: str, *, limits: Limits) -> tuple[int, Any]:
        """Status and parsed body of a short answer. Raises as `open`, and BrokenStream for no JSON."""
        with self.open("GET", path, limits=limits) as exchange:
            text = exchange.text(longest=LONGEST_LIST)
        try:
            return exchange.status, json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BrokenStream(
                f"The server at {self.base_url} answered {exchange.status} with something that is no JSON."
            ) from error


class Exchange:
    """An answer under way. Use it as a context manager: leaving it ends the request."""

    def __init__(
        self,
        response: requests.Response,
        handle: CallHandle,
        limits: Limits,
        started: float,
        base_url: str,
    ) -> None:
        self.status = response.status_code
        self.base_url = base_url
        self.retry_after = retry_after(response.headers.get("Retry-After"))
        self.started = started  # time.monotonic() when the request was sent
        self.writing = False  # set by the provider at the first token: the shorter limit applies then
        self._response = response
        self._handle = handle
        self._limits = limits
        self._complete = False

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.attach(None)
        if not self._complete:
            # What is left unread must not go back into the pool: closing it stops the generation.
            self._response.raw.close()
        self._response.close()

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.started) * 1000

    def lines(self) -> Iterator[str]:
        """Lines as they come, without their ends. Bytes that are no UTF-8 become U+FFFD.

        Raises ProviderTimeout, BrokenStream, AnswerTooLarge, Cancelled.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending: list[str] = []
        size = 0
        for chunk in self._chunks(self._limits.answer_chars * BYTES_PER_CHARACTER):
            text = decoder.decode(chunk)
            size += len(text)
            if "\n" in text:
                head, *rest = text.split("\n")
                yield "".join([*pending, head])
                yield from rest[:-1]
                pending, size = [rest[-1]], len(rest[-1])
            else:
                pending.append(text)
            if size > LONGEST_LINE:
                raise AnswerTooLarge(f"The server sent a line of more than {LONGEST_LINE:,} characters.")
        if last := "".join([*pending, decoder.decode(b"", final=True)]):
            yield last

    def text(self, *, longest: int = LONGEST_ERROR) -> str:
        """The body as text, at most `longest` bytes of it."""
        body = b""
        for chunk in self._chunks(None):
            body += chunk
            if len(body) > longest:
                break
        return body[:longest].decode("utf-8", "replace")

    def _chunks(self, longest: int | None) -> Iterator[bytes]:
        deadline = self.started + self._limits.total_s
        first_deadline = self.started + self._limits.first_token_s
        seen = 0
        while True:
            now = time.monotonic()
            if now >= deadline:
                raise self._late("total", self._limits.total_s)
            pause = self._limits.idle_s if self.writing else first_deadline - now
            if pause <= 0:
                raise self._late("first_token", self._limits.first_token_s)
            self._handle.wait_at_most(min(pause, deadline - now))
            try:
                chunk = self._response.raw.read1(READ_AT_ONCE, decode_content=True)
            except (HTTPError, OSError, ValueError) as error:
                raise self._broken(error, deadline) from error
            if self._handle.cancelled:
                raise Cancelled("The request was cancelled.")
            if not chunk:
                self._complete = True
                return
            seen += len(chunk)
            if longest is not None and seen > longest:
                raise AnswerTooLarge("The server sent more than we are willing to hold.")
            yield chunk

    def _broken(self, error: Exception, deadline: float) -> Exception:
        if self._handle.cancelled:
            return Cancelled("The request was cancelled.")
        if isinstance(error, ReadTimeoutError | TimeoutError):
            if time.monotonic() >= deadline:
                return self._late("total", self._limits.total_s)
            if self.writing:
                return self._late("idle", self._limits.idle_s)
            return self._late("first_token", self._limits.first_token_s)
        return BrokenStream("The connection to the server broke in the middle of its answer.")

    def _late(self, phase: str, seconds: float) -> ProviderTimeout:
        words = {
            "total": "took longer in all than the limit of",
            "first_token": "wrote no first token within",
            "idle": "fell silent in the middle of its answer for",
        }
        return ProviderTimeout(f"The server {words[phase]} {seconds:g} s.", phase=phase)


def retry_after(header: str | None) -> float | None:
    """Seconds to wait as a Retry-After header says, by number or by date; None where it says nothing."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)
