"""The only repair there is: put right, from the rows alone, what a process that died left behind."""

from __future__ import annotations

import logging
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from evalsuite.clock import in_seconds
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.models.runs import SweepTurn
from experiments.services import execution, permits

log = logging.getLogger(__name__)

CRASHES_TO_FAIL = 3
AT_ONCE = 1_000
TURN = "sweep"
DUE = Q(permits_due_at=None) | Q(permits_due_at__lte=Now())


def sweep_in_turn() -> bool:
    """Sweep, unless another process has just done so. True where it was our turn."""
    SweepTurn.objects.bulk_create([SweepTurn(name=TURN, due_at=in_seconds(0))], ignore_conflicts=True)
    ours = SweepTurn.objects.filter(name=TURN, due_at__lte=Now())
    if not ours.update(due_at=in_seconds(settings.SWEEP_EVERY * 0.9)):
        return False
    sweep()
    return True


def sweep() -> None:
    """Take back expired leases, end batches that are done, hand out permits that are missing."""
    for batch_id in take_back_expired():
        execution.finish_if_done(batch_id)
    for batch in Batch.objects.filter(finished_at=None).exclude(state=Batch.State.PAUSED):
        execution.finish_if_done(batch.pk)
    for batch in Batch.objects.filter(DUE, Exists(_ready_cells()), state=Batch.State.RUNNING):
        # Whoever moves the time on hands the permits out; a second sweeper finds it moved.
        moved = Batch.objects.filter(DUE, pk=batch.pk).update(permits_due_at=in_seconds(permits.GRACE_S))
        if moved:
            permits.hand_out(batch.pk, parallel=batch.parallel)


def _ready_cells() -> QuerySet[ExperimentRun]:
    return execution.claimable(OuterRef("pk"))  # type: ignore[arg-type]


def take_back_expired() -> set[UUID]:
    """Cells whose worker fell silent go back into the queue, or fail at the third time.

    Answers the batches that they belong to.
    """
    state = ExperimentRun.State
    expired = ExperimentRun.objects.filter(state=state.RUNNING, lease_until__lt=Now())
    with transaction.atomic():
        rows = list(
            expired.order_by("lease_until")
            .only("id", "batch_id", "attempt", "crashes")
            .select_for_update(skip_locked=True)[:AT_ONCE]
        )
        if not rows:
            return set()
        ids = [row.pk for row in rows]
        log.warning("%d cells were left by their worker", len(ids))
        mine = ExperimentRun.objects.filter(pk__in=ids)
        mine.filter(crashes__lt=CRASHES_TO_FAIL - 1).update(
            state=state.QUEUED, lease_until=None, not_before=None, crashes=F("crashes") + 1
        )
        mine.filter(state=state.RUNNING).update(
            state=state.FAILED,
            lease_until=None,
            crashes=F("crashes") + 1,
            finished_at=Now(),
            error_code="WORKER_LOST",
            error_message=f"{CRASHES_TO_FAIL} workers ended while they worked on this cell.",
        )
        RunAttempt.objects.filter(run__in=ids, outcome="").update(
            outcome=RunAttempt.Outcome.LOST, ended_at=Now(), error_code="WORKER_LOST"
        )
        batches = {row.batch_id for row in rows}
        Batch.objects.filter(pk__in=batches).update(permits_due_at=Now())
    return batches
