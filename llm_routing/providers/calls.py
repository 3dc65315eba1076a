"""One call's life: who may end it, and when it must be over."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Literal

from llm_routing.errors import Cancelled, ProviderError, ProviderTimeout
from llm_routing.types import Limits

Phase = Literal["connect", "first_token", "idle", "total"]
_LATE = {
    "connect": "did not accept a connection within",
    "first_token": "wrote no first token within",
    "idle": "fell silent in the middle of its answer for",
    "total": "took longer in all than the limit of",
}


class CallHandle:
    """Ends a call from any thread: while it connects, while it waits, in the middle of the answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._call: Call | None = None

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """End the call at once. Once is enough, and a call that begins later ends at once as well."""
        with self._lock:
            self._cancelled = True
            call = self._call
        if call is not None:
            call.stop()

    def attach(self, call: Call | None) -> None:
        """Name the call to end; None where there is none any more. Raises Cancelled."""
        with self._lock:
            self._call = call
            if self._cancelled and call is not None:
                raise Cancelled("The request was cancelled.")


Guard = Callable[[str], None]  # takes an IP address that is about to be connected to, or raises


class Call:
    """One request while it lasts: its socket, its phase, and the moment at which it must be over."""

    def __init__(self, limits: Limits, handle: CallHandle, guard: Guard | None) -> None:
        self.limits = limits
        self.guard = guard
        self.handle = handle
        self.started = time.monotonic()
        self.reused = False  # it runs over a connection that was open before
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._wake: Callable[[], None] | None = None
        self._stopped = False
        self._late: Phase | None = None
        self._due: tuple[float, Phase] = (math.inf, "total")
        self.enter("connect")

    @property
    def due(self) -> float:
        """Deadline by `time.monotonic`."""
        return self._due[0]

    @property
    def connected(self) -> bool:
        return self._due[1] != "connect"

    def enter(self, phase: Phase) -> None:
        """Begin a phase: its limit counts from now, and the total limit from the start."""
        now, limits = time.monotonic(), self.limits
        end = self.started + limits.total_s
        seconds = {"connect": limits.connect_s, "first_token": limits.first_token_s, "idle": limits.idle_s}
        if phase == "total" or now + seconds[phase] >= end:
            self._due = (end, "connect" if phase == "connect" else "total")
        else:
            self._due = (now + seconds[phase], phase)
        _watch.sooner(self.due)

    def hurry(self, seconds: float) -> None:
        """Nothing is waited for any more but an orderly end."""
        self._due = (time.monotonic() + seconds, "total")
        _watch.sooner(self.due)

    def attach(self, sock: socket.socket) -> None:
        """Name the socket in use. A duplicate is kept: it ends the connection under TLS as well."""
        with self._lock:
            self._drop_socket()
            self._socket = socket.socket(fileno=os.dup(sock.fileno()))
            if self._stopped:
                self._shut()

    def detach(self) -> None:
        """The connection goes to somebody else: ending this call must not touch it any more."""
        with self._lock:
            self._drop_socket()

    def waiting(self, wake: Callable[[], None] | None) -> None:
        """`wake` ends a wait that has no socket yet; called at once where the call is over."""
        with self._lock:
            self._wake = wake
            over = self._stopped
        if over and wake is not None:
            wake()

    def stop(self) -> None:
        """End all reading, writing and waiting at once."""
        with self._lock:
            self._stopped = True
            wake = self._wake
            self._shut()
        if wake is not None:
            wake()

    def stop_if_late(self, now: float) -> bool:
        due, phase = self._due
        if now < due:
            return False
        self._late = self._late or phase
        self.stop()
        return True

    def verdict(self) -> ProviderError | None:
        """Why we ended the call ourselves; None where we did not."""
        if self.handle.cancelled:
            return Cancelled("The request was cancelled.")
        if self._late is None:
            return None
        seconds = getattr(self.limits, f"{self._late}_s")
        return ProviderTimeout(f"The server {_LATE[self._late]} {seconds:g} s.", phase=self._late)

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.started) * 1000

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Watch:
    """Ends the calls whose time is over: one thread, asleep until the next deadline.

    Socket time-outs alone cannot do this: each byte of a dribbling server starts them anew.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: set[Call] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, call: Call) -> None:
        with self._changed:
            self._calls.add(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="call-limits", daemon=True)
                self._thread.start()
            if call.due < self._wakes_at:
                self._changed.notify()

    def discard(self, call: Call) -> None:
        with self._changed:
            self._calls.discard(call)

    def sooner(self, due: float) -> None:
        """A deadline moved. Later ones need no notice: the thread looks again when it wakes."""
        if due < self._wakes_at:
            with self._changed:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                # Before the look at the deadlines, so that one that moves meanwhile is noticed.
                self._wakes_at = math.inf
                now = time.monotonic()
                self._calls -= {call for call in self._calls if call.stop_if_late(now)}
                wakes_at = min((call.due for call in self._calls), default=math.inf)
                self._wakes_at = wakes_at
                self._changed.wait(None if wakes_at == math.inf else max(0.0, wakes_at - now))


_watch = _Watch()


def _after_fork() -> None:
    global _watch  # noqa: PLW0603 - a forked child has none of its parent's threads
    _watch = _Watch()


os.register_at_fork(after_in_child=_after_fork)


def begin(limits: Limits, handle: CallHandle | None, guard: Guard | None = None) -> Call:
    """A call whose limits count from now. Raises Cancelled where its handle was cancelled before."""
    call = Call(limits, handle or CallHandle(), guard)
    call.handle.attach(call)
    _watch.add(call)
    return call


def end(call: Call) -> None:
    """No limit and no handle can touch what was the call's any more."""
    _watch.discard(call)
    call.handle.attach(None)
    call.detach()
