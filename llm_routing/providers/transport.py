"""HTTP to one server: bounded in every way, and ended from outside at any moment.

Closing a streamed request is how all servers we talk to are told to stop generating.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from evalsuite.errors import EvalsuiteError
from llm_routing.errors import (
    AnswerTooLarge,
    BadProviderRequest,
    BrokenStream,
    ProviderError,
    ProviderUnavailable,
)
from llm_routing.providers import calls
from llm_routing.providers.calls import Call, CallHandle, Guard
from llm_routing.providers.connections import Adapter, current_call
from llm_routing.types import Limits

__all__ = ["CallHandle", "Exchange", "Transport", "retry_after"]

LONGEST_LINE = 8 * 1024 * 1024  # bytes
LONGEST_ERROR = 64 * 1024  # bytes of an error's body that are read
LONGEST_BODY = 16 * 1024 * 1024  # bytes of an answer that is read at once
LONGEST_RETRY_AFTER_S = 600.0
READ_AT_ONCE = 65_536
# A complete answer's last bytes are on their way; a server that keeps them loses its connection.
DRAIN_S, LONGEST_DRAIN = 0.2, 65_536
_TROUBLE = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError, AttributeError)


class Transport:
    """Requests to one base URL. Headers (which may hold a key) go to that server and nowhere else.

    `ca_file` names certificates to trust instead of the usual ones. `guard` is asked about every
    address before it is connected to, whatever name led there.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self.base_url = base_url.rstrip("/")
        self.where = _host_of(self.base_url)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc of the machine
        self._session.verify = ca_file or True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._session.headers["Accept-Encoding"] = "identity"  # compressing holds tokens back
        self._session.headers.update(_checked(headers or {}))
        self._secrets = _secrets_of(headers or {})
        self._session.mount("http://", Adapter())
        self._session.mount("https://", Adapter())

    def open(
        self, method: str, path: str, body: Any = None, *, limits: Limits, handle: CallHandle | None = None
    ) -> Exchange:
        """Send a request, with `body` as JSON, and wait for the answer's head.

        Raises ProviderUnavailable, ProviderTimeout, BadProviderRequest or Cancelled.
        """
        call = calls.begin(limits, handle, self._guard)
        token = current_call.set(call)
        try:
            response = self._send(method, self.base_url + path, body, call)
        except EvalsuiteError as refusal:  # the guard's
            calls.end(call)
            raise BadProviderRequest(refusal.message) from None
        except _TROUBLE as error:
            calls.end(call)
            raise call.verdict() or self._named(error, call) from None  # its text may hold a header
        finally:
            current_call.reset(token)
        return Exchange(response, call, self)

    def _send(self, method: str, url: str, body: Any, call: Call) -> requests.Response:
        # The read limit is kept by the call; the socket's own is there should that ever fail.
        timeout = (call.limits.connect_s, call.limits.total_s + 5)
        for _ in range(2):
            try:
                return self._session.request(
                    method, url, json=body, stream=True, allow_redirects=False, timeout=timeout
                )
            except requests.ConnectionError:
                # The server may close a kept connection just when we take it: that is no trouble.
                if not call.reused or call.verdict():
                    raise
                call.reused = False
        raise ProviderUnavailable(f"The server at {self.where} closes each connection unanswered.")

    def _named(self, error: Exception, call: Call) -> ProviderError:
        """Our name for what went wrong before the answer began. Never repeats the request."""
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return BadProviderRequest(f"The address of the server ({self.where}) is not valid.")
        if isinstance(error, requests.exceptions.SSLError):
            return ProviderUnavailable(f"The certificate or the TLS of {self.where} cannot be trusted.")
        if isinstance(error, requests.exceptions.InvalidJSONError):
            return BadProviderRequest("The request holds a number that JSON does not have.")
        if call.connected:
            return ProviderUnavailable(f"The server at {self.where} closed the connection unanswered.")
        return ProviderUnavailable(f"The server at {self.where} cannot be reached{_reason(error)}.")

    def redact(self, error: ProviderError) -> None:
        """Take our own headers' values out of an error that a server may have echoed them into."""
        for secret in self._secrets:
            error.message = error.message.replace(secret, "***")
            error.details = {
                name: value.replace(secret, "***") if isinstance(value, str) else value
                for name, value in error.details.items()
            }
        error.args = (error.message,)


class Exchange:
    """An answer under way. Use it as a context manager: leaving it ends the request."""

    def __init__(self, response: requests.Response, call: Call, transport: Transport) -> None:
        self.status = response.status_code
        self.where = transport.where
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.retry_after = retry_after(response.headers.get("Retry-After"))
        self._response = response
        self._call = call
        self._transport = transport
        self._writing = False
        self._complete = False

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        verdict = self._call.verdict()
        if kind is None and not self._complete:
            self._drain()
        calls.end(self._call)
        if not self._complete:
            # What is left unread must not go back into the pool: closing it stops the generation.
            self._response.raw.close()
        self._response.close()
        if isinstance(error, ProviderError):
            if verdict is not None and verdict is not error:
                raise verdict from None  # whatever looked broken, we did it ourselves
            self._transport.redact(error)

    def first_token(self) -> float:
        """Milliseconds since the start. From now on the limit between two lines counts."""
        self._writing = True
        return self._call.elapsed_ms()

    def elapsed_ms(self) -> float:
        return self._call.elapsed_ms()

    def lines(self) -> Iterator[str]:
        """Lines with something in them, as they come; bytes that are no UTF-8 become U+FFFD.

        Comments of an event stream (a colon in front) are left out and count as silence.
        The limits stand still, but for the total one, while the caller is busy with a line.
        Raises ProviderTimeout, BrokenStream, AnswerTooLarge, Cancelled.
        """
        for raw in self._raw_lines():
            line = raw.strip(b"\r ").decode("utf-8", "replace")
            if not line or line.startswith(":"):
                continue
            if self._writing:
                self._call.enter("total")
            yield line
            if self._writing:
                self._call.enter("idle")

    def _raw_lines(self) -> Iterator[bytes]:
        pending: list[bytes] = []
        size = 0
        while chunk := self._read():
            head, *rest = chunk.split(b"\n")
            pending.append(head)
            size += len(head)
            if size > LONGEST_LINE:
                raise AnswerTooLarge(f"The server sent a line of more than {LONGEST_LINE:,} bytes.")
            if rest:
                yield b"".join(pending)
                yield from rest[:-1]
                pending, size = [rest[-1]], len(rest[-1])
        if pending:
            yield b"".join(pending)

    def text(self, *, longest: int = LONGEST_ERROR) -> str:
        """The body as text. Raises as `lines`, and AnswerTooLarge beyond `longest` bytes."""
        self._call.enter("total")
        parts: list[bytes] = []
        size = 0
        while chunk := self._read():
            parts.append(chunk)
            size += len(chunk)
            if size > longest:
                raise AnswerTooLarge(f"The server at {self.where} answered with more than {longest:,} bytes.")
        return b"".join(parts).decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. Raises as `text`, and BrokenStream where it is no JSON."""
        text = self.text(longest=LONGEST_BODY)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise BrokenStream(
                f"The server at {self.where} answered {self.status} with something that is no JSON."
            ) from None

    def _read(self) -> bytes:
        """What has come, or nothing at the end."""
        try:
            chunk = self._response.raw.read1(READ_AT_ONCE, decode_content=True)
        except _TROUBLE:
            raise self._call.verdict() or BrokenStream(
                "The connection to the server broke in the middle of its answer."
            ) from None
        if verdict := self._call.verdict():
            raise verdict
        if not chunk:
            self._complete = True
        return bytes(chunk)

    def _drain(self) -> None:
        """Read what follows a complete answer, so that the connection can be used again."""
        self._call.hurry(DRAIN_S)
        size = 0
        with contextlib.suppress(ProviderError):
            while size < LONGEST_DRAIN and (chunk := self._read()):
                size += len(chunk)


def _host_of(base_url: str) -> str:
    """Host and port, without a name and a password that may stand in front."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise BadProviderRequest("The address of a server begins with http:// or https:// and has a host.")
    return f"{host}:{port}" if port else host


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        try:
            requests.utils.check_header_validity((name, value))
            value.encode("latin-1")
        except (requests.exceptions.InvalidHeader, UnicodeError):
            # The original error repeats the value, which may be a key.
            raise BadProviderRequest(
                f"The header {name} has a value that cannot be sent. Is the key complete and on one line?"
            ) from None
    return headers


def _secrets_of(headers: Mapping[str, str]) -> list[str]:
    """Values that no error text may show, longest first; short ones would redact common words."""
    parts = [part for value in headers.values() for part in (value, value.rpartition(" ")[2])]
    return sorted({part for part in parts if len(part) >= 6}, key=len, reverse=True)


def _reason(error: BaseException) -> str:
    """What the system says ("Connection refused"), out of a chain of wrapped errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f" ({cause.strerror})"
        cause = cause.__cause__ or cause.__context__
    return ""


def retry_after(header: str | None) -> float | None:
    """Seconds to wait as a Retry-After header says, by number or by date; None where it says nothing."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)
