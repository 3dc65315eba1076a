"""The queue of an installation in one process: Kombu's in memory, whose reader is woken."""

from __future__ import annotations

import threading
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import memory

# A reader that was busy with as much as it may take is not told when it is free again, and looks by itself.
LOOK_S = 0.05
_arrived = threading.Event()
leaving = threading.Event()  # the worker of this process ends: its reader waits for nothing any more


class Channel(memory.Channel):
    def _put(self, queue: str, message: Any, **given: Any) -> None:
        super()._put(queue, message, **given)
        _arrived.set()


class Transport(memory.Transport):
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Deliver the next message. Raises TimeoutError where none comes within `timeout` seconds."""
        begun = monotonic()
        while True:
            _arrived.clear()  # before looking: what comes from here on wakes us
            try:
                self.cycle.get(self._deliver, timeout=timeout)  # type: ignore[union-attr]
            except Empty:
                if leaving.is_set() or (timeout is not None and monotonic() - begun >= timeout):
                    raise TimeoutError from None
                _arrived.wait(LOOK_S if timeout is None else min(LOOK_S, timeout))
            else:
                return
