"""Whether the readers of this process's open streams may still have them: one thread asks for all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol

from django.db import connections

log = logging.getLogger(__name__)

ASK_EVERY_S = 3.0


class Allowed(Hashable, Protocol):
    """A right, as the database has it now. Equal ones are asked once, however many streams stand on them."""

    def __call__(self) -> bool: ...


class OpenStreams:
    """The streams of this process by the right that they stand on, and the thread that looks after them."""

    def __init__(self) -> None:
        self._enders: dict[Allowed, list[Callable[[], object]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watched(self, allowed: Allowed, end: Callable[[], object]) -> Iterator[None]:
        """While inside, `end` is called, from another thread, when the right is found lost."""
        with self._changed:
            self._enders.setdefault(allowed, []).append(end)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="stream-rights", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._enders[allowed].remove(end)
                if not self._enders[allowed]:
                    del self._enders[allowed]
                self._changed.notify()

    def _watch(self) -> None:
        while self._waited():
            try:
                self._ask()
            except Exception:
                # Whatever it is, such as a database that is away: it is asked again in a moment.
                log.exception("the rights of open streams could not be looked at")
            finally:
                connections.close_all()

    def _waited(self) -> bool:
        """False where no stream is open any more: the thread is given up, and the next one starts another."""
        with self._changed:
            self._changed.wait_for(lambda: not self._enders, timeout=ASK_EVERY_S)
            if not self._enders:
                self._thread = None
            return self._thread is not None

    def _ask(self) -> None:
        with self._changed:
            rights = list(self._enders)
        for allowed in rights:
            if allowed():
                continue
            with self._changed:
                for end in self._enders.get(allowed, ()):
                    end()


open_streams = OpenStreams()
