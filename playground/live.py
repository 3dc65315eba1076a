"""Stopping a comparison that runs, from whichever web process the request to stop comes to.

The wish is written to the comparison's row. The process that streams it looks at the rows of all its running
comparisons together, in one query every quarter of a second; in the same process it is told at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from django.db import DatabaseError, connections, transaction
from django.db.models import F

from evalsuite.audit.services import record
from evalsuite.orgs.models import Org, User
from playground.models import Comparison

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
MOST_COLUMNS = 6


class Stoppable(Protocol):
    def stop(self, columns: Collection[int]) -> None:
        """End what these columns do and wait for. Columns that have ended stay as they are."""


class Running:
    """What runs in this process, and the thread that looks for wishes to stop while anything does."""

    def __init__(self) -> None:
        self._calls: dict[UUID, Stoppable] = {}
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def add(self, comparison_id: UUID, calls: Stoppable) -> None:
        with self._lock:
            self._calls[comparison_id] = calls
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._watch, name="playground-stops", daemon=True)
                self._watcher.start()

    def remove(self, comparison_id: UUID) -> None:
        with self._lock:
            del self._calls[comparison_id]

    def stop(self, comparison_id: UUID, columns: Collection[int]) -> None:
        if calls := self._calls.get(comparison_id):
            calls.stop(columns)

    def _watch(self) -> None:
        try:
            while ids := self._looked_for():
                try:
                    self._pass_on(ids)
                except DatabaseError:
                    connections.close_all()
                    log.warning("the database does not answer: stops are looked for again", exc_info=True)
                time.sleep(LOOK_EVERY_S)
        finally:
            connections.close_all()

    def _looked_for(self) -> list[UUID]:
        """Where nothing runs, the thread is given up under the lock: whoever comes next starts another."""
        with self._lock:
            if not self._calls:
                self._watcher = None
            return list(self._calls)

    def _pass_on(self, ids: list[UUID]) -> None:
        told = Comparison.objects.filter(pk__in=ids).exclude(stopped=0).values_list("pk", "stopped")
        for pk, mask in told:
            self.stop(pk, [column for column in range(MOST_COLUMNS) if mask >> column & 1])


_here = Running()


@contextmanager
def running(comparison: Comparison, calls: Stoppable) -> Iterator[None]:
    """While inside, wishes to stop this comparison reach `calls`."""
    _here.add(comparison.pk, calls)
    try:
        yield
    finally:
        _here.remove(comparison.pk)


def stop(comparison: Comparison, columns: Collection[int], *, org: Org, actor: User) -> None:
    """Have these columns end; it takes effect within half a second, and does nothing where all has ended."""
    mask = sum(1 << column for column in set(columns))
    with transaction.atomic():
        Comparison.objects.filter(pk=comparison.pk).update(stopped=F("stopped").bitor(mask))
        facts = {"columns": sorted(columns)}
        record("playground.comparison.stopped", org=org, actor=actor, subject=comparison, after=facts)
    _here.stop(comparison.pk, columns)
