"""What an experiment is shown with: its variants, its newest inputs and its newest runs.

The number of queries does not grow with the number of experiments, and no query touches more rows
than it answers with: where an experiment has more than are shown, the oldest one to show is looked
up first, by index, and the rows are read from there on. The database makes of them what JSON has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Model, OuterRef, Q, QuerySet, Subquery

from evalsuite import wire
from evalsuite.orgs.models import User
from experiments.api.inputs import InputSerializer
from experiments.api.runs import RunSerializer
from experiments.models import Experiment, ExperimentInput, ExperimentRun, ExperimentVariant

NEWEST_INPUTS = 50
NEWEST_RUNS = 100

INPUT_COLUMNS = wire.columns(InputSerializer)
RUN_COLUMNS = wire.columns(
    RunSerializer, cached=ExpressionWrapper(ExperimentRun.TAKEN_OVER, BooleanField()), thumbs=F("ups")
)
TALLY = ("downs", "own")  # with `ups`, what the thumbs are told by


def with_oldest_shown(experiments: QuerySet[Experiment]) -> QuerySet[Experiment]:
    """Annotate what `attach` needs to know: None where all rows are shown."""
    return experiments.annotate(
        oldest_input=_nth_newest(ExperimentInput, NEWEST_INPUTS),
        oldest_run=_nth_newest(ExperimentRun, NEWEST_RUNS),
    )


def _nth_newest(model: type[Model], n: int) -> Subquery:
    rows = model._default_manager.filter(experiment=OuterRef("pk")).order_by("-id")
    return Subquery(rows.values("pk")[n - 1 : n])


def rows_of(experiments: Iterable[Any]) -> int:
    """How many inputs and runs they are shown with."""
    return sum(min(one.input_count, NEWEST_INPUTS) + min(one.run_count, NEWEST_RUNS) for one in experiments)


def attach(experiments: Sequence[Any], viewer: User) -> None:
    """Give each experiment `nested_variants`, `nested_inputs` and `nested_runs` (three queries)."""
    variants = ExperimentVariant.objects.filter(experiment__in=experiments).order_by("id")
    inputs = _since(ExperimentInput.objects.all(), experiments, "oldest_input")
    runs = _since(ExperimentRun.objects.with_tally(viewer), experiments, "oldest_run")
    shown: dict[str, Iterable[tuple[str, Any]]] = {
        "nested_variants": ((str(row.experiment_id), row) for row in variants),
        "nested_inputs": map(_input, inputs.values_list(*INPUT_COLUMNS.values())),
        "nested_runs": map(_run, runs.values_list(*RUN_COLUMNS.values(), *TALLY)),
    }
    for name, rows in shown.items():
        by_experiment: dict[str, list[Any]] = {str(experiment.pk): [] for experiment in experiments}
        for experiment_id, row in rows:
            by_experiment[experiment_id].append(row)
        for experiment in experiments:
            setattr(experiment, name, by_experiment[str(experiment.pk)])


def _input(columns: tuple[Any, ...]) -> tuple[str, dict[str, Any]]:
    """The experiment's id, and the input as InputSerializer shows it."""
    row = dict(zip(INPUT_COLUMNS, columns, strict=True))
    return row["experimentId"], row


def _run(columns: tuple[Any, ...]) -> tuple[str, dict[str, Any]]:
    """The experiment's id, and the run as RunSerializer shows it."""
    row = dict(zip(RUN_COLUMNS, columns, strict=False))  # without the two of TALLY
    downs, own = columns[-len(TALLY) :]
    row["thumbs"] = {"up": row["thumbs"] or 0, "down": downs or 0, "mine": own}
    return row["experimentId"], row


def _since(rows: QuerySet[Any], experiments: Sequence[Any], oldest: str) -> QuerySet[Any]:
    shown = Q(experiment__in=[row for row in experiments if getattr(row, oldest) is None])
    for experiment in experiments:
        if getattr(experiment, oldest) is not None:
            shown |= Q(experiment=experiment, id__gte=getattr(experiment, oldest))
    return rows.filter(shown).order_by("-id")
