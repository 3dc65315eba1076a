"""What people may do to a batch that has begun."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from evalsuite.audit.services import record
from evalsuite.clock import in_seconds
from evalsuite.errors import Conflict, InvalidBody
from evalsuite.orgs.models import User
from experiments.models import Batch, ExperimentRun
from experiments.services import counting, permits, recording

STATE = ExperimentRun.State
GOING_ON: dict[str, Any] = {
    "state": Batch.State.RUNNING,
    "paused_reason": "",
    "paused_note": "",
    "resume_at": None,
}


class _Unchanged(Enum):
    token = None


UNCHANGED: Final = _Unchanged.token


def cancel(batch: Batch, *, actor: User | None) -> None:
    """No queued cell is called any more; calls in the air end and are kept.

    Raises Conflict where the batch has ended already.
    """
    with transaction.atomic():
        _locked_open(batch)
        Batch.objects.filter(pk=batch.pk).update(**GOING_ON | {"state": Batch.State.CANCELLED})
        cells = ExperimentRun.objects.filter(batch=batch, state=STATE.QUEUED)
        count = cells.update(state=STATE.CANCELLED, finished_at=Now())
        counting.count_cancelled(batch.experiment.org, count)
        _record("cancelled", batch, actor, cancelledCells=count)
    recording.finish_if_done(batch.pk)
    batch.refresh_from_db()


def pause(batch: Batch, *, actor: User | None) -> None:
    """Begin no further call; those in the air end and are kept. Raises Conflict unless it is running."""
    with transaction.atomic():
        locked = _locked_open(batch)
        if locked.state == Batch.State.PAUSED:
            raise Conflict("This batch stands still already.", state=locked.state)
        note = f"{actor.get_username()} paused it." if actor else "It was paused."
        Batch.objects.filter(pk=batch.pk).update(
            state=Batch.State.PAUSED,
            paused_reason=Batch.PausedReason.PERSON,
            paused_note=note,
            resume_at=None,
        )
        _record("paused", batch, actor, reason=Batch.PausedReason.PERSON)
    batch.refresh_from_db()


def resume(batch: Batch, *, actor: User | None, token_budget: int | _Unchanged | None = UNCHANGED) -> None:
    """Let a paused batch go on, with another token budget where one is given (None: no limit any more).

    Raises Conflict unless it is paused, and where its budget is used up and stays as it is; InvalidBody
    for a budget that is used up already.
    """
    with transaction.atomic():
        locked = _locked_open(batch)
        if locked.state != Batch.State.PAUSED:
            raise Conflict("This batch is not paused.", state=locked.state)
        budget = locked.token_budget if token_budget is UNCHANGED else token_budget
        if budget is not None and budget <= locked.tokens:
            used = f"The batch has used {locked.tokens:,} tokens"
            if token_budget is UNCHANGED:
                raise Conflict(
                    f"{used}, its whole budget. Give it a higher one to go on.", tokens=locked.tokens
                )
            raise InvalidBody({"tokenBudget": [f"{used} already: give it more than that."]})
        raised = {} if budget == locked.token_budget else {"tokenBudget": budget}
        _go_on(batch.pk, parallel=locked.parallel, token_budget=budget)
        _record("resumed", batch, actor, was=locked.paused_reason, **raised)
    batch.refresh_from_db()


def resume_by_itself(batch: Batch) -> None:
    """For the sweeper: the limit that stopped the batch has room again. Does nothing where it goes on."""
    with transaction.atomic():
        waiting = Batch.objects.select_for_update().filter(
            pk=batch.pk, state=Batch.State.PAUSED, paused_reason=Batch.PausedReason.QUOTA
        )
        if not waiting.exists():
            return
        _go_on(batch.pk, parallel=batch.parallel)
        _record("resumed", batch, None, was=Batch.PausedReason.QUOTA)


def retry_failed(batch: Batch, *, actor: User | None) -> int:
    """Queue the failed cells again, in the same batch. Raises Conflict where none has failed.

    What was sent stays the snapshot of then. Earlier attempts stay on record. A paused batch stays paused.
    """
    with transaction.atomic():
        locked = Batch.objects.select_for_update().get(pk=batch.pk)
        if locked.state == Batch.State.CANCELLED:
            raise Conflict("This batch was cancelled. Run the experiment again instead.", state=locked.state)
        count = ExperimentRun.objects.filter(batch=batch, state=STATE.FAILED).update(
            state=STATE.QUEUED,
            not_before=None,
            retries=0,
            crashes=0,
            finished_at=None,
            error_code="",
            error_message="",
        )
        if not count:
            raise Conflict("No cell of this batch has failed.", state=locked.state)
        if locked.state == Batch.State.PAUSED:
            Batch.objects.filter(pk=batch.pk).update(finished_at=None)
        else:
            _go_on(batch.pk, parallel=min(batch.parallel, count), finished_at=None)
        _record("retried", batch, actor, retriedCells=count)
    batch.refresh_from_db()
    return count


def _locked_open(batch: Batch) -> Batch:
    """The batch as it is now, locked until the transaction ends. Raises Conflict where it has ended."""
    locked = Batch.objects.select_for_update().get(pk=batch.pk)
    if locked.finished_at is not None or locked.state == Batch.State.CANCELLED:
        raise Conflict("This batch has ended already.", state=locked.state)
    return locked


def _go_on(batch_id: UUID, *, parallel: int, **changes: Any) -> None:
    due = in_seconds(permits.GRACE_S)
    Batch.objects.filter(pk=batch_id).update(**GOING_ON, permits_due_at=due, **changes)
    transaction.on_commit(lambda: permits.hand_out(batch_id, parallel=parallel))


def _record(what: str, batch: Batch, actor: User | None, **facts: Any) -> None:
    record(f"experiment.batch.{what}", org=batch.experiment.org, actor=actor, subject=batch, after=facts)
