"""The only repair there is: put right, from the rows alone, what a process that died left behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from evalsuite import periodic
from evalsuite.clock import in_seconds
from evalsuite.metrics.families import ATTEMPTS_LOST
from evalsuite.quotas import services as quotas
from evalsuite.quotas.models import UsageRecord
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.models.runs import SweepTurn
from experiments.services import (
    claiming,
    evaluation_queue,
    idempotency,
    permits,
    recording,
    steering,
)
from experiments.services.counting import closed
from llm_routing import routing
from llm_routing.counting import LOST, count_call

log = logging.getLogger(__name__)

CRASHES_TO_FAIL = 3
AT_ONCE = 1_000
TURN = "sweep"
STALE_S = 3_600.0  # no call in the playground takes so long
DUE = Q(permits_due_at=None) | Q(permits_due_at__lte=Now())


def sweep_in_turn() -> bool:
    """Sweep, unless another process has just done so. True where it was our turn."""
    if not _take_turn(TURN, settings.SWEEP_EVERY * 0.9):
        return False
    sweep()
    for job in periodic.jobs():
        if _take_turn(job.name, job.every_s):
            _run(job)
    return True


def _run(job: periodic.Job) -> None:
    try:
        job.run()
    except Exception:
        # It has its next turn; the other jobs and the caller must not suffer.
        log.exception("the periodic job %s broke", job.name)


def _take_turn(name: str, every_s: float) -> bool:
    """True for one process in so many seconds."""
    turns = SweepTurn.objects.filter(name=name)
    if not turns.exists():
        SweepTurn.objects.bulk_create([SweepTurn(name=name, due_at=in_seconds(-1))], ignore_conflicts=True)
    due = turns.filter(due_at__lte=Now())
    # Looked at first: SQLite has one writer, and most find that it is not their turn.
    return due.exists() and bool(due.update(due_at=in_seconds(every_s)))


def sweep() -> None:
    """Take back expired leases, end batches that are done, hand out permits that are missing.

    Let batches go on that waited for a limit of their org, give back what calls of the playground held
    when their process died, and forget the keys of requests that are too old to be sent again. Last the
    queue of evaluations, in the same way.
    """
    outdated = idempotency.outdated()
    if outdated.exists():  # SQLite has one writer: do not become it for nothing
        outdated.delete()
    quotas.drop_stale(STALE_S)
    for batch_id in take_back_expired():
        recording.finish_if_done(batch_id)
    for batch in Batch.objects.filter(finished_at=None):
        recording.finish_if_done(batch.pk)
    for batch in _due_again().select_related("experiment__org"):
        steering.resume_by_itself(batch)
    for batch in Batch.objects.filter(Exists(_ready_cells()), state=Batch.State.RUNNING):
        # Whoever moves the time on hands the permits out; a second sweeper finds it moved.
        moved = Batch.objects.filter(DUE, pk=batch.pk).update(permits_due_at=in_seconds(permits.GRACE_S))
        if moved:
            permits.hand_out(batch.pk, parallel=batch.parallel)
        elif routing.in_use(batch.pk) < batch.parallel:
            # A worker was lost, or a new one has come: one that finds no lane goes away at once.
            permits.publish(batch.pk)
    evaluation_queue.sweep()


def _due_again() -> QuerySet[Batch]:
    """Batches that a limit of the org stopped, and whose time has come."""
    return Batch.objects.filter(
        state=Batch.State.PAUSED, paused_reason=Batch.PausedReason.QUOTA, resume_at__lte=Now()
    )


def _ready_cells() -> QuerySet[ExperimentRun]:
    return claiming.claimable(OuterRef("pk"))  # type: ignore[arg-type]


def take_back_expired() -> set[UUID]:
    """Cells whose worker fell silent go back into the queue, or fail at the third time.

    In a batch that calls at most once they fail at once: the call may have reached the model, and only
    a person can say whether it is to be made again. Answers the batches that they belong to.
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
        mine.filter(batch__at_most_once=True, cached_from=None).update(
            state=state.FAILED,
            lease_until=None,
            crashes=F("crashes") + 1,
            finished_at=Now(),
            error_code="ATTEMPT_LOST",
            error_message="The worker ended during the call, which may have reached the model. "
            "This batch calls at most once: run the failed cells again if that may be.",
        )
        mine = mine.filter(state=state.RUNNING)
        mine.filter(crashes__lt=CRASHES_TO_FAIL - 1).update(
            state=state.QUEUED, lease_until=None, not_before=None, crashes=F("crashes") + 1
        )
        mine.update(
            state=state.FAILED,
            lease_until=None,
            crashes=F("crashes") + 1,
            finished_at=Now(),
            error_code="WORKER_LOST",
            error_message=f"{CRASHES_TO_FAIL} workers ended while they worked on this cell.",
        )
        _count(ids)
        batches = {row.batch_id for row in rows}
        Batch.objects.filter(pk__in=batches).update(permits_due_at=Now())
        _give_up(ids)  # last: others wait for the org's counters
    return batches


def _count(runs: Sequence[UUID]) -> None:
    """The calls that were lost, and the cells that failed with them."""
    mine = ExperimentRun.objects.filter(pk__in=runs)
    cells = mine.filter(state=ExperimentRun.State.FAILED)
    changes = closed(list(cells.values_list("experiment__org", "experiment", "variant")), "failed")
    for org, provider, model in mine.filter(cached_from=None).values_list(
        "experiment__org", "model_provider", "model_name"
    ):
        changes.count(ATTEMPTS_LOST, org)
        count_call(changes, org, provider, model, UsageRecord.Kind.EXPERIMENT, outcome=LOST)
    changes.save()


def _give_up(runs: Sequence[UUID]) -> None:
    """Nobody will ever record the attempts in the air for these: they end as lost, and use nothing."""
    attempts = RunAttempt.objects.filter(run__in=runs, outcome="")
    lost = list(attempts.values_list("pk", flat=True))
    RunAttempt.objects.filter(pk__in=lost).update(
        outcome=RunAttempt.Outcome.LOST, ended_at=Now(), error_code="WORKER_LOST"
    )
    quotas.release(lost)
