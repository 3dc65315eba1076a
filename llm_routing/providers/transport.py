"""HTTP to one server: bounded in every way, and ended from outside at any moment.

Closing a streamed request is how all servers we talk to are told to stop generating.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from evalsuite.errors import EvalsuiteError
from llm_routing.errors import (
    BadProviderRequest,
    Obstacle,
    ProviderError,
    ProviderUnavailable,
)
from llm_routing.providers import calls
from llm_routing.providers.calls import Call, CallHandle, Guard
from llm_routing.providers.connections import Pool, current_call, pool_for
from llm_routing.providers.exchange import TROUBLE, Exchange
from llm_routing.types import Limits

# What a header's value may hold: no line ends, no blank in front (a key pasted with one).
_VALUE = re.compile(r"(?:[^\s][^\r\n]*)?\Z")


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
        # A pool of its own and nothing of the machine's: no proxy, no .netrc, no cookies, no redirects.
        self._pool: Pool | None = None
        self._path = ""
        try:
            address = urllib3.util.parse_url(self.base_url)
            self._pool = pool_for(address, ca_file=ca_file or certifi.where())
            self._path = address.path or ""
        except (LocationValueError, UnicodeError):  # told at the first request
            address = urllib3.util.Url()
        own = _checked(headers or {})
        if address.auth and "Authorization" not in own:
            own = {**own, **_basic(address.auth)}
        self._headers = {
            "Accept-Encoding": "identity",  # compressing holds tokens back
            "User-Agent": "evalsuite",
            **own,
        }
        self._secrets = _secrets_of(own)

    def open(
        self, method: str, path: str, body: Any = None, *, limits: Limits, handle: CallHandle | None = None
    ) -> Exchange:
        """Send a request, with `body` as JSON, and wait for the answer's head.

        Raises ProviderUnavailable, ProviderTimeout, BadProviderRequest or Cancelled.
        """
        call = calls.begin(limits, handle, self._guard)
        token = current_call.set(call)
        try:
            response = self._send(method, self._path + path, body, call)
        except EvalsuiteError as refusal:  # the guard's
            calls.end(call)
            raise _met("guard", BadProviderRequest(refusal.message)) from None
        except TROUBLE as error:
            calls.end(call)
            raise call.verdict() or self._named(error, call) from None  # its text may hold a header
        finally:
            current_call.reset(token)
        return Exchange(response, call, where=self.where, redact=self.redact)

    def _send(self, method: str, path: str, body: Any, call: Call) -> urllib3.BaseHTTPResponse:
        if self._pool is None:
            raise LocationValueError(self.where)
        headers, data = self._headers, None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            data = _encoded(body)
        # The read limit is kept by the call; the socket's own is there should that ever fail.
        timeout = urllib3.Timeout(connect=call.limits.connect_s, read=call.limits.total_s + 5)
        for _ in range(2):
            try:
                return self._pool.urlopen(
                    method,
                    path or "/",
                    body=data,
                    headers=headers,
                    timeout=timeout,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                )
            except HTTPError:
                # The server may close a kept connection just when we take it: that is no trouble.
                if not call.reused or call.verdict():
                    raise
                call.reused = False
        raise ProviderUnavailable(f"The server at {self.where} closes each connection unanswered.")

    def _named(self, error: Exception, call: Call) -> ProviderError:
        """Our name for what went wrong before the answer began. Never repeats the request."""
        if isinstance(error, LocationValueError):
            message = f"The address of the server ({self.where}) is not valid."
            return _met("address", BadProviderRequest(message))
        if isinstance(error, SSLError):
            message = f"The certificate or the TLS of {self.where} cannot be trusted."
            return _met("tls", ProviderUnavailable(message))
        if call.connected:
            message = f"The server at {self.where} closed the connection unanswered."
            return _met("closed", ProviderUnavailable(message))
        unreachable = ProviderUnavailable(f"The server at {self.where} cannot be reached{_reason(error)}.")
        unreachable.not_sent = True
        return _met(_obstacle(error), unreachable)

    def redact(self, error: ProviderError) -> None:
        """Take our own headers' values out of an error that a server may have echoed them into."""
        for secret in self._secrets:
            error.message = error.message.replace(secret, "***")
            error.details = {
                name: value.replace(secret, "***") if isinstance(value, str) else value
                for name, value in error.details.items()
            }
        error.args = (error.message,)


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


def _encoded(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except ValueError:
        raise BadProviderRequest("The request holds a number that JSON does not have.") from None


def _basic(auth: str) -> dict[str, str]:
    return {"Authorization": urllib3.util.make_headers(basic_auth=unquote(auth))["authorization"]}


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        # An error of the library below would repeat the value, which may be a key.
        if not _VALUE.match(value) or not _is_latin(value):
            raise BadProviderRequest(
                f"The header {name} has a value that cannot be sent. Is the key complete and on one line?"
            )
    return headers


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeError:
        return False
    return True


def _secrets_of(headers: Mapping[str, str]) -> list[str]:
    """Values that no error text may show, longest first; short ones would redact common words."""
    parts = [part for value in headers.values() for part in (value, value.rpartition(" ")[2])]
    return sorted({part for part in parts if len(part) >= 6}, key=len, reverse=True)


def _met(obstacle: Obstacle, error: ProviderError) -> ProviderError:
    error.obstacle = obstacle
    return error


def _causes(error: BaseException) -> Iterator[OSError]:
    """What the system says, out of a chain of wrapped errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(error: BaseException) -> str:
    """In the system's words: "(Connection refused)"."""
    return next((f" ({cause.strerror})" for cause in _causes(error) if cause.strerror), "")


def _obstacle(error: BaseException) -> Obstacle:
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "name"
    return "refused" if any(isinstance(cause, ConnectionRefusedError) for cause in causes) else "route"
