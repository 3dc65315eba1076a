"""Working on a batch, from a permit on: until nothing is claimable, or others wait for their turn.

The database decides everything. A claim writes the attempt before the call is made; a result is
recorded only while that attempt is still the cell's current one, so that a worker which was given
up changes nothing. No transaction is open during a call.
"""

from __future__ import annotations

import threading
import time
from enum import Enum, auto
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Min, OuterRef

from evalsuite import context
from evalsuite.prepared import Prepared
from experiments.models import Batch, ExperimentRun
from experiments.services import claiming, permits, recording
from experiments.services.crew import Crew
from llm_routing import routing

STATE = ExperimentRun.State
PATIENCE_S = 0.25  # a permit that gets no lane for so long makes way for others
RUNNING = Prepared(
    lambda batch: Batch.objects.select_related("experiment__org", "author").filter(
        pk=batch, state=Batch.State.RUNNING
    ),
    UUID,
)


class Drain(Enum):
    """Why a permit is given back."""

    NOTHING_TO_CLAIM = auto()
    TURN_OVER = auto()  # other batches wait, and cells are left to claim
    NO_LANE = auto()  # all that could be called at is busy
    STOPPED = auto()  # this process is told to end


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
    if stopping.event.is_set():
        return Drain.STOPPED
    batch = RUNNING.first(batch_id)
    if batch is None:
        return Drain.NOTHING_TO_CLAIM
    with context.working_on(batch_id), Crew(batch) as crew:
        why = _work(crew)
        if _needs_successor(batch_id, why):
            permits.publish(batch_id)  # before our last calls end: it need not wait for them
        crew.finish(give_up_at=lambda: stopping.give_up_at)
    if not recording.finish_if_done(batch_id):
        ask_for_permits(batch_id)
    return why


def _work(crew: Crew) -> Drain:
    now = time.monotonic()
    slice_end, had_lanes_at = now + settings.WORK_SLICE, now
    while not stopping.event.is_set():
        if not crew.work() and not crew.busy:
            return Drain.NOTHING_TO_CLAIM
        now = time.monotonic()
        if crew.has_lanes:
            had_lanes_at = now
        elif now - had_lanes_at > PATIENCE_S:
            return Drain.NO_LANE
        if now >= slice_end:
            if _others_wait(crew.batch):
                return Drain.TURN_OVER
            crew.refresh()
            slice_end = now + settings.WORK_SLICE
    return Drain.STOPPED


def _needs_successor(batch_id: UUID, why: Drain) -> bool:
    """One permit of a batch stays on its way while there is work; of those without a lane no second one."""
    if why is Drain.NO_LANE:
        return not routing.in_use(batch_id)
    return why is not Drain.NOTHING_TO_CLAIM


def _others_wait(batch: Batch) -> bool:
    """Other batches have cells that could be claimed now."""
    ready = Exists(claiming.claimable(OuterRef("pk")))  # type: ignore[arg-type]
    return Batch.objects.filter(ready, state=Batch.State.RUNNING).exclude(pk=batch.pk).exists()


def ask_for_permits(batch_id: UUID) -> None:
    """Let the sweeper hand out permits as soon as the first cell that waits for its pause is ready."""
    queued = ExperimentRun.objects.filter(batch=batch_id, state=STATE.QUEUED)
    earliest = queued.aggregate(earliest=Min("not_before"))["earliest"]
    if earliest is not None:
        Batch.objects.filter(pk=batch_id).update(permits_due_at=earliest)
