"""The results of a batch as a grid, inputs by variants: which inputs, in which order, and their cells.

The database narrows down and sorts; only the inputs of one page are read with their cells.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    Expression,
    F,
    FilteredRelation,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
    Window,
)
from django.db.models.functions import Coalesce, Greatest, Least, Length, RowNumber, Substr

from evalsuite.orgs.models import User
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    EvalScore,
    Evaluator,
    ExperimentInput,
    ExperimentRun,
    ExperimentVariant,
)
from experiments.models.runs import RunQuerySet
from experiments.services.figures import HIGHER, LATENCY, THUMBS, TOKENS, Measure, with_figures

EXCERPT = 480  # characters of an output in a cell
SHOWN_CONTENT = 80  # characters of an input's content
SHOWN_EXPECTED = 60
TRACE = 4  # letters of a cell's trace


class Thumbs(models.TextChoices):
    UP = "up", "Up"
    DOWN = "down", "Down"
    NONE = "none", "Not rated"


class Sort(models.TextChoices):
    INPUT = "input", "Input order"
    DISAGREEMENT = "disagreement", "Disagreement"
    LOSS = "loss", "Loss of B against A"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see of a batch. `low` and `high` bound the cell's mean by `measure`.

    `a` and `b` are the variants of which `differ` and the order by loss speak.
    """

    state: str = ""
    thumb: str = ""
    measure: Measure | None = None
    low: float | None = None
    high: float | None = None
    a: ExperimentVariant | None = None
    b: ExperimentVariant | None = None
    differ: bool = False
    sort: Sort = Sort.INPUT
    order_by: Measure | None = None  # by what disagreement and loss are measured

    @property
    def by_score(self) -> bool:
        return self.measure is not None and (self.low is not None or self.high is not None)

    @property
    def marks_cells(self) -> bool:
        """Some cells fit and others do not."""
        return bool(self.state or self.thumb or self.by_score)

    @property
    def is_plain(self) -> bool:
        """All inputs, in their order: a change in one cell moves no other one."""
        return not (self.marks_cells or self.differ) and self.sort == Sort.INPUT


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's mean over all repeats and raters of a cell."""

    metric: EvalMetricDefinition
    mean: float
    n: int


@dataclass(slots=True)
class Cell:
    """All repeats of a variant on an input. `run` is the one that is shown: the first that fits."""

    run: ExperimentRun
    repeats: int
    states: Mapping[str, int]
    fits: bool
    scores: list[Score] = field(default_factory=list)

    @property
    def is_cut(self) -> bool:
        """The output goes on behind the excerpt."""
        return int(self.run.output_length) > EXCERPT  # type: ignore[attr-defined]

    @property
    def trace(self) -> str:
        """Letters that change when what the cell shows of its states and scores does.

        Where others come out the same by chance, a cell stays as it was: once in 65,536 changes.
        """
        scores = [(score.metric.pk, score.mean, score.n) for score in self.scores]
        text = f"{self.run.pk}{self.run.state}{sorted(self.states.items())}{scores}"
        return f"{zlib.crc32(text.encode()) & 0xFFFF:0{TRACE}x}"


@dataclass(slots=True)
class Row:
    input: ExperimentInput
    cells: list[Cell | None]


def measures_of(batch: Batch) -> list[Measure]:
    """The metrics that scores of this batch have or evaluators give, and the figures of every run."""
    used = EvalScore.objects.filter(run__batch=batch).order_by().values("metric").distinct()
    evaluated = Evaluator.objects.filter(experiment=batch.experiment_id).order_by().values("metric")
    metrics = EvalMetricDefinition.objects.for_org(batch.experiment.org).filter(
        Q(pk__in=used) | Q(pk__in=evaluated),
    )
    return with_figures(metrics.order_by("key"))


def variants_in(batch: Batch) -> list[ExperimentVariant]:
    cells = ExperimentRun.objects.filter(batch=batch, variant=OuterRef("pk"))
    variants = ExperimentVariant.objects.for_org(batch.experiment.org)
    return list(variants.filter(Exists(cells), experiment=batch.experiment_id).order_by("id"))


def cells_of(batch: Batch) -> RunQuerySet:
    """The batch was found through its org: to ask that again would join three tables in each subquery."""
    return ExperimentRun.objects.filter(batch=batch)


def fitting(batch: Batch, wish: Wish, input_ids: Collection[UUID] | None = None) -> RunQuerySet:
    """The cells of a batch, or of some of its inputs, that fit what was asked of cells."""
    cells = cells_of(batch)
    if input_ids is not None:
        cells = cells.filter(input__in=input_ids)
    if wish.state:
        cells = cells.filter(state=wish.state)
    if wish.thumb:
        cells = cells.filter(thumbs_up={Thumbs.UP: True, Thumbs.DOWN: False}.get(Thumbs(wish.thumb)))
    if wish.thumb == Thumbs.NONE:
        cells = cells.filter(state=ExperimentRun.State.SUCCEEDED)
    if wish.by_score:
        cells = cells.filter(_within(cells, wish))
    return cells


def _within(cells: RunQuerySet, wish: Wish) -> Q:
    """Cells whose mean by the measure lies in the range. One without a value lies in no range."""
    measure = wish.measure
    if measure is None:
        return Q()
    if measure == LATENCY:
        return _between("latency_ms", wish)
    if measure == TOKENS:
        return _between("output_tokens", wish)
    if measure == THUMBS:
        rated = cells.order_by().annotate(mean=Avg(_as_number("thumbs__up")))
        return Q(pk__in=rated.filter(_between("mean", wish)).values("pk"))
    scores = EvalScore.objects.filter(run__in=cells.order_by(), metric=measure.id).order_by()
    means = scores.values("run").annotate(mean=Avg("value")).filter(_between("mean", wish))
    return Q(pk__in=means.values("run"))


def _between(name: str, wish: Wish) -> Q:
    inside = Q(**{f"{name}__isnull": False})
    if wish.low is not None:
        inside &= Q(**{f"{name}__gte": wish.low})
    if wish.high is not None:
        inside &= Q(**{f"{name}__lte": wish.high})
    return inside


def _as_number(path: str) -> Case:
    """1 for a thumb up, 0 for one down, nothing for none."""
    return Case(
        When(**{path: True, "then": Value(1.0)}),
        When(**{path: False, "then": Value(0.0)}),
        output_field=FloatField(),
    )


def inputs_in(batch: Batch, wish: Wish) -> QuerySet[ExperimentInput]:
    """The inputs with a cell that fits, in the order that was asked for."""
    places = fitting(batch, wish).order_by().values("input")
    if wish.differ and wish.a and wish.b:
        differing = _differing(batch, wish.a, wish.b)
        places = differing.filter(input__in=places) if wish.marks_cells else differing
    inputs = ExperimentInput.objects.for_org(batch.experiment.org)
    return inputs.filter(experiment=batch.experiment_id, pk__in=places)


def _differing(batch: Batch, a: ExperimentVariant, b: ExperimentVariant) -> QuerySet[Any]:
    """Inputs on which the two did not come to the same answer in each repeat."""
    same_place = cells_of(batch).filter(variant=b, input=OuterRef("input"), repeat=OuterRef("repeat"))
    other = same_place.exclude(output=OuterRef("output"), state=OuterRef("state"))
    return cells_of(batch).filter(Exists(other), variant=a).order_by().values("input")


def sorted_inputs(
    batch: Batch, wish: Wish, variants: Sequence[ExperimentVariant]
) -> QuerySet[ExperimentInput]:
    """Those with the greatest disagreement or loss first, those without a value last."""
    inputs = _begun(inputs_in(batch, wish))
    if wish.sort == Sort.INPUT or wish.order_by is None:
        return inputs.order_by("id")
    placed = inputs.alias(cell=FilteredRelation("runs", condition=Q(runs__batch=batch)))
    if wish.sort == Sort.LOSS and wish.a and wish.b:
        before, after = _mean(wish.order_by, wish.a), _mean(wish.order_by, wish.b)
        key: Any = before - after if wish.order_by.direction == HIGHER else after - before
    elif len(variants) > 1:
        key = _spread(wish.order_by, variants)
    else:
        return inputs.order_by("id")
    return placed.annotate(sort_key=key).order_by(F("sort_key").desc(nulls_last=True), "id")


def _begun(inputs: QuerySet[ExperimentInput]) -> QuerySet[ExperimentInput]:
    """With as much of their texts as a page shows."""
    return inputs.annotate(
        start=Substr("content", 1, SHOWN_CONTENT + 1), expects=Substr("expected", 1, SHOWN_EXPECTED + 1)
    ).defer("content", "expected", "metadata")


def _mean(measure: Measure, variant: ExperimentVariant | None = None) -> Expression:
    """Of the joined cells, all or one variant's. None where there is no value."""
    of_variant = Q(cell__variant=variant) if variant else Q(cell__isnull=False)
    if measure == LATENCY:
        comparable = Q(cell__cold_start=False, cell__state=ExperimentRun.State.SUCCEEDED)
        return Avg("cell__latency_ms", filter=of_variant & comparable)
    if measure == TOKENS:
        return Avg("cell__output_tokens", filter=of_variant)
    if measure == THUMBS:
        return Avg(_as_number("cell__thumbs__up"), filter=of_variant)
    return Avg("cell__scores__value", filter=of_variant & Q(cell__scores__metric=measure.id))


def _spread(measure: Measure, variants: Sequence[ExperimentVariant]) -> Expression:
    """Between the best and the worst variant. The mean of all stands in where one has no value."""
    means = [Coalesce(_mean(measure, variant), _mean(measure)) for variant in variants]
    return Greatest(*means) - Least(*means)


def rows_of(
    batch: Batch,
    inputs: Sequence[ExperimentInput],
    wish: Wish,
    variants: Sequence[ExperimentVariant],
    *,
    user: User,
    metrics: Iterable[EvalMetricDefinition] = (),
) -> list[Row]:
    """These inputs in this order, each with a cell for each variant (None: it has none there).

    `metrics` are those of the batch that are at hand; others are asked for.
    """
    known = {metric.pk: metric for metric in metrics}
    cells = _cells_by_place(batch, [row.pk for row in inputs], wish, user, known)
    found = []
    for row in inputs:
        for variant in variants:
            if cell := cells.get((row.pk, variant.pk)):
                cell.run.input, cell.run.variant = row, variant
        found.append(Row(row, [cells.get((row.pk, variant.pk)) for variant in variants]))
    return found


def _cells_by_place(
    batch: Batch,
    input_ids: Collection[UUID],
    wish: Wish,
    user: User,
    metrics: Mapping[UUID, EvalMetricDefinition],
) -> dict[tuple[UUID, UUID], Cell]:
    places: dict[tuple[UUID, UUID], Cell] = {}
    for run in _shown(batch, input_ids, wish, user):
        states = _states_beside(run) if batch.repeats > 1 else {run.state: 1}
        places[run.input_id, run.variant_id] = Cell(run, sum(states.values()), states, bool(run.fits))  # type: ignore[attr-defined]
    for place, score in _scores(batch, input_ids, metrics):
        if place in places:
            places[place].scores.append(score)
    return places


def _states_beside(run: ExperimentRun) -> dict[str, int]:
    """Of all repeats of its place."""
    return {state: n for state in ExperimentRun.State.values if (n := getattr(run, f"in_{state}"))}


def _shown(batch: Batch, input_ids: Collection[UUID], wish: Wish, user: User) -> list[ExperimentRun]:
    """One run of each place: the first that fits, else the first.

    Where there are repeats, `in_queued` ... count them all.
    """
    fits: Any = Value(True)
    if wish.marks_cells:
        chosen = fitting(batch, wish, input_ids).order_by().values("pk")
        fits = Case(When(pk__in=chosen, then=Value(True)), default=Value(False))
    runs = cells_of(batch).filter(input__in=input_ids).order_by().annotate(fits=fits)
    if batch.repeats > 1:
        here = [F("input"), F("variant")]
        rank = Window(RowNumber(), partition_by=here, order_by=[F("fits").desc(), F("repeat").asc()])
        counts = {
            f"in_{state}": Window(Count("pk", filter=Q(state=state)), partition_by=here)
            for state in ExperimentRun.State.values
        }
        runs = runs.annotate(rank=rank, **counts).filter(rank=1)
    return list(
        runs.annotate(excerpt=Substr("output", 1, EXCERPT), output_length=Length("output"))
        .with_tally(user)
        .only(
            "input",
            "variant",
            "repeat",
            "state",
            "error_message",
            "latency_ms",
            "cold_start",
            "may_be_cut",
            "cached_from",
            "cached_latency_ms",
            "model_name",
            "thumbs_up",
        )
    )


def _scores(
    batch: Batch, input_ids: Collection[UUID], metrics: Mapping[UUID, EvalMetricDefinition]
) -> list[tuple[tuple[UUID, UUID], Score]]:
    scores = EvalScore.objects.filter(run__batch=batch, run__input__in=input_ids).order_by()
    rows = list(
        scores.values_list("run__input", "run__variant", "metric").annotate(mean=Avg("value"), n=Count("pk"))
    )
    if unknown := {row[2] for row in rows} - metrics.keys():
        metrics = {**metrics, **EvalMetricDefinition.objects.in_bulk(unknown)}
    found = [
        ((input_id, variant_id), Score(metrics[metric_id], mean, n))
        for input_id, variant_id, metric_id, mean, n in rows
    ]
    return sorted(found, key=lambda item: item[1].metric.key)
