"""One call for one cell, the seat of the thread that makes it, and what a process knows of its calls."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from django.conf import settings

from evalsuite import context, tracing
from evalsuite.errors import EvalsuiteError
from experiments.models import Batch, ExperimentRun
from experiments.services.claiming import Cell, Group
from experiments.services.recording import Answered, Failed, Outcome
from llm_routing import routing
from llm_routing.providers.calls import CallHandle
from llm_routing.routing import Lane
from llm_routing.types import Completion, Timings

log = logging.getLogger(__name__)

MOST_CALLERS = 4_096  # of a process: more than its permits seat, or a lane would be held without a call


class Seat:
    """One caller: a lane, and the call that is in the air on it."""

    def __init__(self, lane: Lane, group: Group, batch: Batch) -> None:
        self.lane = lane
        self.group = group
        self.batch = batch
        self.handle: CallHandle | None = None  # of the call in the air
        self.leaving = False
        self.left = False

    def call(self, cell: Cell) -> Outcome:
        """Never raises: whatever goes wrong is the cell's outcome."""
        context.work.set(context.Work(self.batch.pk, cell.run_id))  # the thread is ours alone
        if tracing.tracer is None:
            return self._call(cell)
        with self._span(cell) as span:
            outcome = self._call(cell)
            if isinstance(outcome, Failed):
                tracing.failed(span, outcome.error.code)
            return outcome

    def _span(self, cell: Cell) -> AbstractContextManager[Any]:
        """Part of the trace of Run; a large batch would be too much for one trace, and is linked to it."""
        facts = {
            "evalsuite.org.id": str(self.batch.experiment.org_id),
            "evalsuite.batch.id": str(self.batch.pk),
            "evalsuite.run.id": str(cell.run_id),
            "evalsuite.attempt": cell.attempt,
        }
        linked = self.batch.total > settings.RUN_SYNC_CELLS
        return tracing.work("attempt", facts, origin=self.batch.traceparent, linked=linked)

    def _call(self, cell: Cell) -> Outcome:
        try:
            events = routing.call(self.lane.target, cell.request, handle=self.handle)
            return Answered(cell, routing.whole(events))
        except EvalsuiteError as error:
            log.info("a call failed", extra={"facts": {"error": error.code, "attempt": cell.attempt}})
            return Failed(cell, _alone(error))
        except Exception:
            log.exception("the call for run %s broke", cell.run_id)
            return Failed(cell, EvalsuiteError("Something broke on our side; the log has the reason."))

    def cut_off(self) -> None:
        """End the call in the air, if there is one."""
        if (handle := self.handle) is not None:
            handle.cancel()


def _alone(error: EvalsuiteError) -> EvalsuiteError:
    """Without the frames that it came through: they hold all that was read until its cell is recorded."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def earlier_answer(run: ExperimentRun) -> Completion:
    """An answer that is known, to be given again. Its times are the original's, and none of this cell's."""
    return Completion(
        content=run.output,
        thinking=run.thinking,
        tool_calls=tuple(run.tool_calls),
        stop_reason=run.stop_reason or None,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        may_be_cut=run.may_be_cut,
        timings=Timings(total_ms=0),
    )


class Suspects:
    """Batches that have a cell in this process which may be the death of it: at most one for each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: set[UUID] = set()

    def reserve(self, batch_id: UUID) -> bool:
        """True where none of this batch is here: the caller may take one, and frees the place afterwards."""
        with self._lock:
            free = batch_id not in self._batches
            self._batches.add(batch_id)
            return free

    def free(self, batch_id: UUID) -> None:
        with self._lock:
            self._batches.discard(batch_id)


suspects = Suspects()


class Pace:
    """Seconds that calls take, lately. Kept by the process: a batch on a known model starts at full speed."""

    def __init__(self) -> None:
        self._call_s: dict[Group, float] = {}

    def of(self, group: Group) -> float | None:
        return self._call_s.get(group)

    def note(self, group: Group, lasted_s: float) -> None:
        before = self._call_s.get(group, lasted_s)
        self._call_s[group] = 0.8 * before + 0.2 * lasted_s


pace = Pace()


class Callers:
    """The threads that call. They outlive their crew: to start sixty takes longer than to claim for them."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.pool = ThreadPoolExecutor(MOST_CALLERS, thread_name_prefix="call")


callers = Callers()
os.register_at_fork(after_in_child=callers.renew)  # a forked child has none of its parent's threads
