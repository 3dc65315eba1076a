"""What a line of our logs holds, as one JSON object or as text for people.

Never what people or models wrote, and no secret: lines name routes, not addresses asked for, and of an
exception they give its type and where it came from. Its own words may quote a prompt, a row of the
database or a key, and are left out unless LOG_EXCEPTION_TEXT is on.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

from evalsuite import context

# Lines of these begin with fixed words up to a mark, and go on with what was asked for or what broke.
QUOTING = {
    "django.request": ":",
    "django.security.DisallowedHost": ":",
    "celery.app.trace": "raised",
    "asyncio": "\n",
}


class Told(logging.Formatter):
    """What both formats share. `exception_text`: exceptions come with their own words."""

    def __init__(self, *, exception_text: bool = False) -> None:
        super().__init__()
        self._exception_text = exception_text

    def message(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if (end := QUOTING.get(record.name)) and not self._exception_text:
            text = text.partition(end)[0]
        return text

    def exception(self, record: logging.LogRecord) -> str:
        """The trace with the files, lines and functions that it came through; empty without one."""
        if not record.exc_info or record.exc_info[0] is None:
            return record.exc_text or ""
        kind, error, frames = record.exc_info
        if self._exception_text:
            return "".join(traceback.format_exception(kind, error, frames)).rstrip()
        return "\nwhich led to\n".join(reversed([_trace(one) for one in _chain(error)]))


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception, what it came from, and so on."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _trace(error: BaseException) -> str:
    lines = [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)]
    kind = type(error)
    return "\n".join([*lines, f"{kind.__module__}.{kind.__qualname__}"])


def ids() -> dict[str, str]:
    """Which request, batch and cell the thread works for, as far as that is known."""
    found = {"request": context.current.get().request_id, **context.work.get().ids()}
    return {name: value for name, value in found.items() if value}


class JsonFormatter(Told):
    """One object a line: time, level, logger, message; where known request, batch, run, exception, more."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message(record),
            **ids(),
            **getattr(record, "facts", {}),
        }
        if exception := self.exception(record):
            line["exception"] = exception
        return json.dumps(line, ensure_ascii=False, default=str)


class LineFormatter(Told):
    """For people at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        known = {**ids(), **getattr(record, "facts", {})}
        told = "".join(f" {name}={value}" for name, value in known.items())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {self.message(record)}{told}"
        exception = self.exception(record)
        return f"{line}\n{exception}" if exception else line
