"""Working on a batch: claim cells, call the provider, record what came.

The database decides everything. A claim writes the attempt before the call is made; a result is
recorded only while that attempt is still the cell's current one, so that a worker which was given
up changes nothing. No transaction is open during a call.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from enum import Enum, auto
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.models import F, Min, Q, QuerySet
from django.db.models.functions import Now

from evalsuite.clock import in_seconds
from evalsuite.errors import EvalsuiteError
from evalsuite.ids import new_id
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.services import permits, recording
from experiments.services.evaluation import Panel
from experiments.services.recording import Answered, Cell, Failed, Outcome
from llm_routing import resolution, routing, slots
from llm_routing.errors import ModelNotFound
from llm_routing.models import RegisteredModel
from llm_routing.providers.transport import CallHandle
from llm_routing.types import CompletionRequest, Message

log = logging.getLogger(__name__)

GROUP_S = 0.02  # results that come so close together share a transaction
IDLE_S = 0.05  # pause while every slot is taken
STATE = ExperimentRun.State


class Drain(Enum):
    """Why a permit is given back."""

    MORE_TO_DO = auto()  # the time slice is over, and cells are left to claim
    NOTHING_TO_CLAIM = auto()


class _Stopping:
    """Set when this process is told to end: claim nothing more, give calls in the air up in time."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.give_up_at = float("inf")

    def begin(self, *, grace_s: float) -> None:
        self.give_up_at = time.monotonic() + grace_s
        self.event.set()

    def clear(self) -> None:
        self.give_up_at = float("inf")
        self.event.clear()


stopping = _Stopping()


def drain(batch_id: UUID) -> Drain:
    """Work on a batch until nothing is claimable or the time slice is over, then end the calls begun."""
    batch = (
        Batch.objects.select_related("experiment__org", "author")
        .filter(pk=batch_id, state=Batch.State.RUNNING)
        .first()
    )
    if batch is None:
        return Drain.NOTHING_TO_CLAIM
    with Crew(batch) as crew:
        slice_end = time.monotonic() + settings.WORK_SLICE
        more = True
        while not stopping.event.is_set():
            more = crew.claim()
            if not crew.busy and not more:
                break
            if time.monotonic() >= slice_end:
                if more:  # the successor need not wait for our last calls
                    permits.publish(batch_id)
                break
            crew.settle(IDLE_S)
        crew.finish()
    if not finish_if_done(batch_id):
        ask_for_permits(batch_id)
    return Drain.MORE_TO_DO if more else Drain.NOTHING_TO_CLAIM


class Crew:
    """A few threads that call, and the one (the permit's own) that claims and records for them."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.panel = Panel(batch.experiment)
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"[:128]
        self._pool = ThreadPoolExecutor(settings.WORK_CALLS, thread_name_prefix="call")
        self._calls: dict[Future[Outcome], tuple[Cell, slots.Slot, CallHandle]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Crew:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heart.join()
        self._pool.shutdown(wait=False)

    @property
    def busy(self) -> int:
        """Calls in the air."""
        return len(self._calls)

    def claim(self) -> bool:
        """Claim and call as much as slots and limits allow. False where no cell is left to claim."""
        waiting = False
        for model in self._models():
            room = settings.WORK_CALLS - self.busy
            if room <= 0:
                return True
            try:
                target = routing.target_for(model)
                taken = slots.acquire(target.endpoint_id, target.capacity, room)
            except EvalsuiteError as error:
                log.warning("batch %s waits: %s", self.batch.pk, error)
                waiting = True
                continue
            cells = claim(self.batch.pk, model.pk, len(taken), self.worker) if taken else []
            slots.release(taken[len(cells) :])
            for cell, slot in zip(cells, taken, strict=False):
                self._call(cell, slot, target)
            waiting = waiting or not taken or len(cells) == len(taken)
        return waiting

    def _models(self) -> list[RegisteredModel]:
        """Models with cells that are ready, in the batch's order of work."""
        ready = claimable(self.batch.pk).order_by().values("model").annotate(first=Min("position"))
        order = [row["model"] for row in ready.order_by("first")]
        if None in order:
            fail_without_model(self.batch.pk)
        models = RegisteredModel.objects.select_related("provider").in_bulk(order)
        return [models[pk] for pk in order if pk in models]

    def _call(self, cell: Cell, slot: slots.Slot, target: routing.Target) -> None:
        handle = CallHandle()
        future = self._pool.submit(_one_call, cell, target, handle)
        with self._lock:
            self._calls[future] = (cell, slot, handle)

    def settle(self, timeout_s: float) -> None:
        """Wait for a result, let those close behind it come along, and record them together."""
        if not self._calls:
            time.sleep(timeout_s)
            return
        wait(self._calls, timeout=timeout_s, return_when=FIRST_COMPLETED)
        if not any(future.done() for future in self._calls):
            return
        if len(self._calls) > 1:
            wait(self._calls, timeout=GROUP_S)
        done = [future for future in self._calls if future.done()]
        recording.record(self.batch, self.panel, [future.result() for future in done])
        slots.release([self._calls[future][1] for future in done])
        with self._lock:
            for future in done:
                del self._calls[future]

    def finish(self) -> None:
        """Record the calls that are still in the air; when the process must end, give them up in time."""
        while self._calls:
            if time.monotonic() >= stopping.give_up_at:
                for _, _, handle in list(self._calls.values()):
                    handle.cancel()
            self.settle(IDLE_S)

    def _beat(self) -> None:
        """Renew the leases of the cells in the air, and tell the sweeper that this batch is looked after."""
        while not self._ended.wait(settings.CELL_LEASE / 3):
            with self._lock:
                runs = [cell.run_id for cell, _, _ in self._calls.values()]
            try:
                ExperimentRun.objects.filter(pk__in=runs, state=STATE.RUNNING).update(
                    lease_until=in_seconds(settings.CELL_LEASE)
                )
            except DatabaseError:
                # Two more beats before a lease ends; the calls themselves are fine.
                log.warning("a heartbeat of batch %s failed", self.batch.pk, exc_info=True)
            finally:
                connections.close_all()


def ask_for_permits(batch_id: UUID) -> None:
    """Let the sweeper hand out permits as soon as the first cell that waits for its pause is ready."""
    queued = ExperimentRun.objects.filter(batch=batch_id, state=STATE.QUEUED)
    earliest = queued.aggregate(earliest=Min("not_before"))["earliest"]
    if earliest is not None:
        Batch.objects.filter(pk=batch_id).update(permits_due_at=earliest)


def claimable(batch_id: UUID) -> QuerySet[ExperimentRun]:
    """Queued cells whose pause, if they have one, is over."""
    ready = Q(not_before=None) | Q(not_before__lte=Now())
    return ExperimentRun.objects.filter(ready, batch=batch_id, state=STATE.QUEUED)


def fail_without_model(batch_id: UUID) -> None:
    """Close the cells whose model was taken out of the registry after they were planned."""
    claimable(batch_id).filter(model=None).update(
        state=STATE.FAILED,
        finished_at=Now(),
        error_code=ModelNotFound.code,
        error_message="The model was removed from the registry before this cell was run.",
    )


@transaction.atomic
def claim(batch_id: UUID, model_id: UUID, want: int, worker: str) -> list[Cell]:
    """Take up to `want` cells of one model: state, lease and attempt rows in one short transaction.

    Takes none where the batch runs no more, or has its parallel limit in the air already.
    """
    # The batch's row is the lock that makes its parallel limit exact and cancelling final.
    batch = Batch.objects.select_for_update().get(pk=batch_id)
    if batch.state != Batch.State.RUNNING:
        return []
    in_the_air = batch.runs.filter(state=STATE.RUNNING).count()
    want = min(want, batch.parallel - in_the_air)
    if want <= 0:
        return []
    rows = list(
        claimable(batch_id)
        .filter(model=model_id)
        .order_by("position")
        .annotate(db_now=Now())
        .select_for_update(skip_locked=True)[:want]
    )
    if not rows:
        return []
    changes = {
        "attempt": F("attempt") + 1,
        "state": STATE.RUNNING,
        "lease_until": in_seconds(settings.CELL_LEASE),
    }
    ExperimentRun.objects.filter(pk__in=[row.pk for row in rows]).update(**changes, started_at=Now())
    attempts = [
        RunAttempt(id=new_id(), run=row, number=row.attempt + 1, worker=worker, started_at=Now())
        for row in rows
    ]
    RunAttempt.objects.bulk_create(attempts)
    started = {} if batch.started_at else {"started_at": Now()}
    Batch.objects.filter(pk=batch_id).update(permits_due_at=in_seconds(permits.GRACE_S), **started)
    return [_cell(row, attempt) for row, attempt in zip(rows, attempts, strict=True)]


def _cell(row: ExperimentRun, attempt: RunAttempt) -> Cell:
    waited = row.db_now - (row.not_before or row.created_at)  # type: ignore[attr-defined]
    return Cell(
        run_id=row.pk,
        attempt=attempt.number,
        attempt_id=attempt.pk,
        retries=row.retries,
        variant_id=row.variant_id,
        provider=row.model_provider,
        request=CompletionRequest(
            model=row.model_name,
            messages=tuple(Message(message["role"], message["content"]) for message in row.messages),
            parameters=resolution.parameters_from_json(row.parameters),
        ),
        snapshot=row.snapshot,
        queue_ms=max(0, round(waited.total_seconds() * 1000)),
    )


def _one_call(cell: Cell, target: routing.Target, handle: CallHandle) -> Outcome:
    try:
        return Answered(cell, routing.whole(routing.call(target, cell.request, handle=handle)))
    except EvalsuiteError as error:
        return Failed(cell, error)
    except Exception:
        log.exception("the call for run %s broke", cell.run_id)
        return Failed(cell, EvalsuiteError("Something broke on our side; the log has the reason."))


def finish_if_done(batch_id: UUID) -> bool:
    """End a batch all of whose cells are closed. Looks after its own commit: the last to look sees all."""
    open_cells = ExperimentRun.objects.filter(batch=batch_id, state__in=[STATE.QUEUED, STATE.RUNNING])
    if open_cells.exists():
        return False
    running = Batch.objects.filter(pk=batch_id, finished_at=None)
    ended = running.filter(state=Batch.State.RUNNING).update(state=Batch.State.FINISHED, finished_at=Now())
    cancelled = running.filter(state=Batch.State.CANCELLED).update(finished_at=Now())
    return bool(ended or cancelled)
