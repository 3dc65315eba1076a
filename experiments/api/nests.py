"""What an experiment is shown with: its variants, its newest inputs and its newest runs.

The number of queries does not grow with the number of experiments, and no query touches more rows
than it answers with: where an experiment has more than are shown, the oldest one to show is looked
up first, by index, and the rows are read from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model, OuterRef, Q, QuerySet, Subquery

from evalsuite.orgs.models import User
from experiments.api.runs import LARGE
from experiments.models import Experiment, ExperimentInput, ExperimentRun, ExperimentVariant, Thumb

NEWEST_INPUTS = 50
NEWEST_RUNS = 100


def with_oldest_shown(experiments: QuerySet[Experiment]) -> QuerySet[Experiment]:
    """Annotate what `attach` needs to know: None where all rows are shown."""
    return experiments.annotate(
        oldest_input=_nth_newest(ExperimentInput, NEWEST_INPUTS),
        oldest_run=_nth_newest(ExperimentRun, NEWEST_RUNS),
    )


def _nth_newest(model: type[Model], n: int) -> Subquery:
    rows = model._default_manager.filter(experiment=OuterRef("pk")).order_by("-id")
    return Subquery(rows.values("pk")[n - 1 : n])


def attach(experiments: Sequence[Any], viewer: User) -> None:
    """Give each experiment `nested_variants`, `nested_inputs` and `nested_runs` (four queries at most)."""
    variants = ExperimentVariant.objects.filter(experiment__in=experiments).order_by("id")
    inputs = _since(ExperimentInput.objects.all(), experiments, "oldest_input")
    runs = list(_since(ExperimentRun.objects.defer(*LARGE), experiments, "oldest_run"))
    Thumb.objects.attach(runs, viewer)
    for name, rows in (("nested_variants", variants), ("nested_inputs", inputs), ("nested_runs", runs)):
        by_experiment: dict[Any, list[Any]] = {experiment.pk: [] for experiment in experiments}
        for row in rows:
            by_experiment[row.experiment_id].append(row)
        for experiment in experiments:
            setattr(experiment, name, by_experiment[experiment.pk])


def _since(rows: QuerySet[Any], experiments: Sequence[Any], oldest: str) -> QuerySet[Any]:
    shown = Q(experiment__in=[row for row in experiments if getattr(row, oldest) is None])
    for experiment in experiments:
        if getattr(experiment, oldest) is not None:
            shown |= Q(experiment=experiment, id__gte=getattr(experiment, oldest))
    return rows.filter(shown).order_by("-id")
