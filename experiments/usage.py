"""What this app tells of an org's usage, and does when its limits change: quotas know no experiments."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db.models.functions import Now

from evalsuite.orgs.models import Org
from evalsuite.quotas import hooks
from experiments.models import Batch, Evaluation, Experiment, ExperimentRun
from experiments.services import evaluation_queue


def register() -> None:
    hooks.register_namer("experiment", experiment_names)
    hooks.register_gauge("parallelCells", cells_in_the_air)
    hooks.register_listener(try_again)


def experiment_names(org: Org, ids: Collection[UUID]) -> dict[UUID, str]:
    """Of the org's experiments that are still there."""
    return dict(Experiment.objects.for_org(org).filter(pk__in=ids).values_list("pk", "name"))


def cells_in_the_air(org: Org) -> int:
    """Calls that are being made now, over all batches of the org."""
    judging = Evaluation.objects.for_org(org).filter(state=Evaluation.State.RUNNING, call__isnull=False)
    # By batch: SQLite knows no other way to a few cells among all of the org's.
    open_batches = Batch.objects.for_org(org).filter(finished_at=None).order_by()
    cells = ExperimentRun.objects.filter(batch__in=open_batches, state=ExperimentRun.State.RUNNING)
    return cells.count() + judging.count()


def try_again(org: Org) -> None:
    """Let the sweeper see at its next turn whether batches and judges that met a limit have room now."""
    waiting = Batch.objects.for_org(org).filter(
        state=Batch.State.PAUSED, paused_reason=Batch.PausedReason.QUOTA
    )
    waiting.update(resume_at=Now())
    evaluation_queue.try_again(org)
