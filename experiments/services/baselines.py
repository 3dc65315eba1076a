"""The batch of an experiment that new ones are compared with."""

from __future__ import annotations

from evalsuite.errors import NotFound
from evalsuite.orgs.models import User
from experiments.models import Batch, Experiment
from experiments.services import changes


def set_baseline(experiment: Experiment, *, batch: Batch | None, actor: User | None) -> None:
    """None: there is no baseline any more. Raises NotFound for a batch of another experiment."""
    if batch is not None and batch.experiment_id != experiment.pk:
        raise NotFound("batch")
    changes.update(experiment, org=experiment.org, actor=actor, changes={"baseline": batch})
