"""What is counted for Prometheus when cells and calls end, in the transaction that records it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from evalsuite.metrics import families
from evalsuite.metrics.changes import Changes
from evalsuite.orgs.models import Org
from evalsuite.quotas.models import UsageRecord
from experiments.models import ExperimentRun

STATE = ExperimentRun.State
KIND = UsageRecord.Kind


def scores_of(experiment_id: UUID) -> str:
    """The subject of an experiment's scores: see `experiments.watch`."""
    return f"scores:{experiment_id}"


def scores_changed(experiment_id: UUID) -> None:
    changes = Changes()
    changes.touch([scores_of(experiment_id)])
    changes.save()


def count_closed(changes: Changes, org_id: UUID, cells: Sequence[tuple[UUID, UUID]], state: str) -> None:
    """Cells (experiment and variant of each) that ended in this state. Cancelled ones have not run."""
    changes.count(families.CELLS_CLOSED, org_id, state, by=len(cells))
    if state != STATE.CANCELLED:
        for experiment_id, variant_id in cells:
            changes.count(families.EXPERIMENT_RUNS, org_id, experiment_id, variant_id)


def closed(rows: Sequence[tuple[UUID, UUID, UUID]], state: str) -> Changes:
    """As `count_closed`, for cells (org, experiment and variant of each) of several orgs."""
    changes = Changes()
    for org_id in {row[0] for row in rows}:
        mine = [(experiment, variant) for owner, experiment, variant in rows if owner == org_id]
        count_closed(changes, org_id, mine, state)
    return changes


def count_cancelled(org: Org, number: int) -> None:
    changes = Changes()
    changes.count(families.CELLS_CLOSED, org.pk, STATE.CANCELLED, by=number)
    changes.save()
