"""What people may do to a batch that has begun."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from evalsuite.audit.services import record
from evalsuite.clock import in_seconds
from evalsuite.errors import Conflict
from evalsuite.orgs.models import User
from experiments.models import Batch, ExperimentRun
from experiments.services import execution, permits

STATE = ExperimentRun.State


def cancel(batch: Batch, *, actor: User) -> None:
    """No queued cell is called any more; calls in the air end and are kept.

    Raises Conflict where the batch has ended already.
    """
    with transaction.atomic():
        locked = Batch.objects.select_for_update().get(pk=batch.pk)
        if locked.finished_at is not None or locked.state == Batch.State.CANCELLED:
            raise Conflict("This batch has ended already.", state=locked.state)
        Batch.objects.filter(pk=batch.pk).update(state=Batch.State.CANCELLED)
        cells = ExperimentRun.objects.filter(batch=batch, state=STATE.QUEUED)
        count = cells.update(state=STATE.CANCELLED, finished_at=Now())
        record(
            "experiment.batch.cancelled",
            org=batch.experiment.org,
            actor=actor,
            subject=batch,
            after={"cancelledCells": count},
        )
    execution.finish_if_done(batch.pk)
    batch.refresh_from_db()


def retry_failed(batch: Batch, *, actor: User) -> int:
    """Queue the failed cells again, in the same batch. Raises Conflict where none has failed.

    What was sent stays the snapshot of then. Earlier attempts stay on record.
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
        Batch.objects.filter(pk=batch.pk).update(
            state=Batch.State.RUNNING, finished_at=None, permits_due_at=in_seconds(permits.GRACE_S)
        )
        record(
            "experiment.batch.retried",
            org=batch.experiment.org,
            actor=actor,
            subject=batch,
            after={"retriedCells": count},
        )
        transaction.on_commit(lambda: permits.hand_out(batch.pk, parallel=min(batch.parallel, count)))
    batch.refresh_from_db()
    return count
