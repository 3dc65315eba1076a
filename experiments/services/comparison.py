"""Two variants, or two batches, side by side: which is better, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q, QuerySet

from evalsuite.errors import InvalidBody, NotFound
from experiments import statistics
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    Experiment,
    ExperimentVariant,
)
from experiments.services import figures
from experiments.services.figures import HIGHER, Measure, Paired
from experiments.statistics import PairedResult, Verdict


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared. No batch: the cells of all batches of the experiment."""

    variant: ExperimentVariant
    batch: Batch | None = None


class Call(models.TextChoices):
    """The verdict on the candidate."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same", "no difference that matters"
    UNSURE = "unsure", "cannot tell yet"


@dataclass(frozen=True, slots=True)
class Pair:
    """One input with a value on both sides: means over repeats and raters."""

    input_id: UUID
    baseline: float
    candidate: float

    @property
    def difference(self) -> float:
        return self.candidate - self.baseline


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate against the baseline on one metric, paired by input. None where nothing is known."""

    metric_key: str
    metric_name: str
    direction: str  # "higher" or "lower" is better
    baseline: Side
    candidate: Side
    pairs: int  # inputs with a value on both sides
    only_baseline: int  # inputs with a value on this side alone
    only_candidate: int
    baseline_mean: float | None  # over the pairs
    candidate_mean: float | None
    difference: float | None  # candidate - baseline
    low: float | None  # its 95 % interval
    high: float | None
    wins: int  # of the candidate, by the metric's direction
    losses: int
    ties: int
    p_value: float | None
    adjusted_p: float | None  # by Holm, over so many `comparisons`
    comparisons: int
    method: str  # of the p-value
    interval_method: str
    effect_size: float | None
    effect_name: str
    margin: float  # differences up to it do not matter
    call: Call
    inputs_needed: int | None  # where it cannot tell yet: about so many more


UNSCALED = (figures.LATENCY, figures.TOKENS)


def compare_metrics(
    experiment: Experiment,
    *,
    baseline: Side,
    candidate: Side,
    margin: float = 0.0,
    metric_keys: Sequence[str] = (),
    margins: Mapping[str, float] = MappingProxyType({}),
) -> list[Comparison]:
    """The metrics that are named, else every one with a score on either side, then thumbs, latency and
    tokens. Holm over all that are answered.

    `margins` go before `margin`, by key. Where nothing is named `margin` is one of metrics and thumbs:
    milliseconds and tokens are on no scale of theirs.

    Raises NotFound for an unknown metric, InvalidBody for sides that share cells and a bad margin.
    """
    for one in (margin, *margins.values()):
        _require_margin(one)
    duel = Duel(experiment, baseline, candidate)
    if metric_keys:
        found = duel.compared([_measure(experiment, key) for key in dict.fromkeys(metric_keys)])
        usual = dict.fromkeys(found, margin)
    else:
        found = duel.all_compared()
        usual = {measure: 0.0 if measure in UNSCALED else margin for measure in found}
    return duel.all_judged(found, {measure: margins.get(measure.key, usual[measure]) for measure in found})


@dataclass(frozen=True, slots=True)
class Overview:
    """One measure in full, by itself and input by input, and beside it all that are known."""

    chosen: Comparison
    pairs: list[Pair]
    every: list[Comparison]


def overview(
    experiment: Experiment, *, baseline: Side, candidate: Side, measure: Measure, margin: float = 0.0
) -> Overview:
    """The margin is the measure's own. Raises InvalidBody as `compare_metrics` does."""
    _require_margin(margin)
    duel = Duel(experiment, baseline, candidate)
    found = duel.all_compared()
    alone = {measure: found.get(measure) or _compared(measure, Paired())}
    (chosen,) = duel.all_judged(alone, {measure: margin})
    return Overview(chosen, duel.pairs(measure), duel.all_judged(found, dict.fromkeys(found, 0.0)))


def _adjusted(found: Mapping[Measure, Compared]) -> Mapping[Measure, float]:
    """By Holm, over those that have a p-value."""
    tested = {one: result.outcome.p_value for one, result in found.items()}
    known = {one: p_value for one, p_value in tested.items() if p_value is not None}
    return dict(zip(known, statistics.holm(list(known.values())), strict=True))


def _require_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin >= 0):
        raise InvalidBody({"margin": ["This must be a finite number that is not negative."]})


def _measure(experiment: Experiment, key: str) -> Measure:
    measure = figures.measure_of(experiment.org, key)
    if measure is None:
        raise NotFound("metric", f"There is no metric {key}.")
    return measure


@dataclass(frozen=True, slots=True)
class Compared:
    values: Paired
    outcome: PairedResult


@dataclass(frozen=True)
class Duel:
    """Two sides of one experiment. Raises InvalidBody where they are none."""

    experiment: Experiment
    baseline: Side
    candidate: Side

    def __post_init__(self) -> None:
        if self.baseline == self.candidate:
            raise InvalidBody({"candidate": ["This is the baseline itself: there is nothing to compare."]})
        one, other = self.baseline.batch, self.candidate.batch
        if self.baseline.variant == self.candidate.variant and (one is None or other is None):
            raise InvalidBody(
                {"candidate": ["All batches have this one's cells too: name a batch for either side."]}
            )

    @cached_property
    def columns(self) -> dict[str, Any]:
        """Whose cells are whose, and which have seen the same. Within one batch no input can have changed."""
        one_batch = self.baseline.batch is not None and self.baseline.batch == self.candidate.batch
        changed = not one_batch and figures.has_changed_inputs(self.which)
        return {
            "side": lambda at: figures.side(_cells(self.experiment, self.baseline, at)),
            "version": figures.version if changed else figures.one_version,
        }

    def which(self, at: str) -> Q:
        return _cells(self.experiment, self.baseline, at) | _cells(self.experiment, self.candidate, at)

    def cells_of(self, measures: Sequence[Measure]) -> QuerySet[Any, Any]:
        return figures.source(measures, self.which, **self.columns)

    def pairs(self, measure: Measure) -> list[Pair]:
        """By input, in the order in which the inputs were added."""
        return [Pair(*values) for values in figures.listed(self.cells_of([measure]))]

    def compared(self, measures: Sequence[Measure]) -> dict[Measure, Compared]:
        values = figures.paired(self.cells_of(measures))
        return {one: _compared(one, values.get(one.id, Paired())) for one in measures}

    def all_compared(self) -> dict[Measure, Compared]:
        """Every measure that some input has a value of, on either side."""
        values = figures.paired(figures.everything(self.which, **self.columns))
        metrics = EvalMetricDefinition.objects.for_org(self.experiment.org).filter(pk__in=values)
        known = [one for one in figures.with_figures(metrics.order_by("key")) if one.id in values]
        return {one: _compared(one, values[one.id]) for one in known}

    def all_judged(
        self, found: Mapping[Measure, Compared], margins: Mapping[Measure, float]
    ) -> list[Comparison]:
        """With the p-values adjusted by Holm, over all of these."""
        adjusted = _adjusted(found)
        return [
            self.judged(
                measure,
                result,
                margin=margins[measure],
                adjusted_p=adjusted.get(measure),
                comparisons=max(1, len(adjusted)),
            )
            for measure, result in found.items()
        ]

    def judged(
        self,
        measure: Measure,
        found: Compared,
        *,
        margin: float,
        adjusted_p: float | None,
        comparisons: int,
    ) -> Comparison:
        """With its call, by the rules of `statistics.verdict`."""
        outcome = found.outcome
        verdict = statistics.verdict(outcome.interval, adjusted_p, margin=margin, pairs=outcome.n)
        wins, losses = outcome.positive, outcome.negative
        if measure.direction != HIGHER:
            wins, losses = losses, wins
        needed = None
        if verdict is Verdict.UNSURE:
            needed = statistics.inputs_needed(outcome, margin=margin, comparisons=comparisons)
        return Comparison(
            metric_key=measure.key,
            metric_name=measure.name,
            direction=measure.direction,
            baseline=self.baseline,
            candidate=self.candidate,
            pairs=outcome.n,
            only_baseline=found.values.only_first,
            only_candidate=found.values.only_second,
            baseline_mean=outcome.first_mean,
            candidate_mean=outcome.second_mean,
            difference=outcome.difference,
            low=outcome.interval.low,
            high=outcome.interval.high,
            wins=wins,
            losses=losses,
            ties=outcome.zero,
            p_value=outcome.p_value,
            adjusted_p=adjusted_p,
            comparisons=comparisons,
            method=outcome.method,
            interval_method=outcome.interval.method,
            effect_size=outcome.effect_size,
            effect_name=outcome.effect_name,
            margin=margin,
            call=_call(verdict, measure.direction),
            inputs_needed=needed,
        )


def _cells(experiment: Experiment, side: Side, at: str) -> Q:
    cells = Q(**{f"{at}experiment": experiment.pk, f"{at}variant": side.variant.pk})
    return cells & Q(**{f"{at}batch": side.batch.pk}) if side.batch else cells


def _compared(measure: Measure, values: Paired) -> Compared:
    return Compared(
        values,
        statistics.compare_pairs(values.first, values.second, rate=values.plain, bounds=measure.bounds),
    )


def _call(verdict: Verdict, direction: str) -> Call:
    if verdict is Verdict.SAME:
        return Call.SAME
    if verdict is Verdict.UNSURE:
        return Call.UNSURE
    return Call.BETTER if verdict.value == direction else Call.WORSE
