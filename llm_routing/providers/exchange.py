"""An answer on its way in: read piece by piece within its limits, and given up by closing it."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from types import TracebackType
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from llm_routing.errors import AnswerTooLarge, BrokenStream, ProviderError
from llm_routing.providers import calls
from llm_routing.providers.calls import Call

LONGEST_LINE = 8 * 1024 * 1024  # bytes, as Ollama's own client takes them
LONG_LINE = 1024 * 1024  # bytes; many calls at once may each hold one, longer ones come one at a time
LONGEST_ERROR = 64 * 1024  # bytes of an error's body that are read
LONGEST_BODY = 16 * 1024 * 1024  # bytes of an answer that is read at once
LONGEST_RETRY_AFTER_S = 600.0
READ_AT_ONCE = 65_536
# A complete answer's last bytes are on their way; a server that keeps them loses its connection.
DRAIN_S, LONGEST_DRAIN = 0.2, 65_536
TROUBLE = (HTTPError, HTTPException, OSError, ValueError, AttributeError)  # what the libraries below raise


class _Place:
    """The one place for long texts that this process has; shorter ones need none."""

    FREE = threading.BoundedSemaphore(1)
    LOOK_S = 0.1

    def __init__(self, call: Call) -> None:
        self._call = call
        self._taken = False

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def take_for(self, size: int) -> None:
        """Wait for a place where the text is long. The limits of the call go on; raises when one is over."""
        while size > LONG_LINE and not self._taken:
            self._taken = self.FREE.acquire(timeout=self.LOOK_S)
            if not self._taken and (verdict := self._call.verdict()):
                raise verdict

    def leave(self) -> None:
        if self._taken:
            self._taken = False
            self.FREE.release()


class Exchange:
    """An answer under way. Use it as a context manager: leaving it ends the request."""

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        call: Call,
        *,
        where: str,
        redact: Callable[[ProviderError], None],
    ) -> None:
        self.status = response.status
        self.where = where
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.retry_after = retry_after(response.headers.get("Retry-After"))
        self._response = response
        self._call = call
        self._redact = redact
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
            self._response.close()
        self._response.release_conn()
        if isinstance(error, ProviderError):
            if verdict is not None and verdict is not error:
                raise verdict from None  # whatever looked broken, we did it ourselves
            self._redact(error)

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
            del raw  # a line is long at times, and lives while the caller is busy with it
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
        with _Place(self._call) as place:
            while chunk := self._read():
                head, *rest = chunk.split(b"\n")
                pending.append(head)
                size += len(head)
                if size > LONGEST_LINE:
                    raise AnswerTooLarge(f"The server sent a line of more than {LONGEST_LINE:,} bytes.")
                place.take_for(size)
                if rest:
                    line, pending = b"".join(pending), [rest.pop()]
                    size = len(pending[0])
                    yield line
                    del line
                    place.leave()
                    yield from rest
            if pending:
                yield b"".join(pending)

    def text(self, *, longest: int = LONGEST_ERROR) -> str:
        """The body as text. Raises as `lines`, and AnswerTooLarge beyond `longest` bytes."""
        self._call.enter("total")
        parts: list[bytes] = []
        size = 0
        with _Place(self._call) as place:
            while chunk := self._read():
                parts.append(chunk)
                size += len(chunk)
                if size > longest:
                    raise AnswerTooLarge(
                        f"The server at {self.where} answered with more than {longest:,} bytes."
                    )
                place.take_for(size)
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
            chunk = self._response.read1(READ_AT_ONCE, decode_content=True)
        except TROUBLE:
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
