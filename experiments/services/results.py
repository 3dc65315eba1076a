"""Results of an experiment, variant by variant, aggregated by the database."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, F, Q, QuerySet, Sum, Window
from django.db.models.functions import RowNumber

from experiments import statistics
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    Experiment,
    ExperimentRun,
    ExperimentVariant,
)
from experiments.services import figures
from experiments.services.figures import COMPARABLE, SUCCEEDED, Measure, Summed, Which
from experiments.statistics import Interval

CACHED = SUCCEEDED & (Q(cached_from__isnull=False) | Q(cached_latency_ms__isnull=False, latency_ms=None))
UNKNOWN = Interval(None, None, "none")


@dataclass(frozen=True, slots=True)
class Thumbs:
    """`up` and `down` count thumbs, of which a cell may have several.

    `rate` is the share of thumbs up: of a cell, averaged over the cells of an input, then over inputs.
    None: nobody gave one.
    """

    up: int
    down: int
    rate: float | None = None
    interval: Interval = UNKNOWN


NO_THUMBS = Thumbs(0, 0)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, over the `n` answers that are neither cold starts nor cached. None where n is 0."""

    n: int
    cold_starts: int
    cached: int
    mean: float | None
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sums and means over the answers whose provider told them. None: no one told."""

    input: int | None
    output: int | None
    input_mean: float | None
    output_mean: float | None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """`n` scores in `cells` answers to `inputs` inputs; `missing` answers have none.

    The mean is that of the inputs, each the mean of its cells, each the mean of its raters.
    """

    metric: EvalMetricDefinition
    n: int
    missing: int
    mean: float | None
    cells: int = 0
    inputs: int = 0
    interval: Interval = UNKNOWN


@dataclass(frozen=True, slots=True)
class VariantResult:
    variant: ExperimentVariant
    cells: Mapping[str, int]  # by state, and their `total`
    thumbs: Thumbs
    latency: Latency
    tokens: Tokens
    metrics: list[MetricResult]


def results_of(
    experiment: Experiment,
    *,
    batch: Batch | None = None,
    variants: Sequence[ExperimentVariant] | None = None,
) -> list[VariantResult]:
    """One result for each variant, also for one that never ran; of one batch alone where asked for.

    `variants` are those of the experiment in their order, where they are at hand.
    """
    which = _cells_of(experiment, batch)
    runs = ExperimentRun.objects.filter(which(""))
    rows: QuerySet[Any, Any] = runs.order_by().values("variant").annotate(**_sums())
    sums = {row["variant"]: row for row in rows}
    counts = {variant: row["latency_n"] for variant, row in sums.items() if row["latency_n"]}
    ranked = _latencies_by_rank(runs, counts)
    scores = figures.sums(figures.scores(which, part=_part), "part", "metric_id")
    thumbs = _thumbs(which)
    metrics = EvalMetricDefinition.objects.filter(
        Q(pk__in=experiment.evaluators.order_by().values("metric"))
        | Q(pk__in={metric for _, metric in scores})
    )
    columns = list(metrics.order_by("key"))
    return [
        _result(
            variant,
            sums.get(variant.pk, {}),
            ranked.get(variant.pk, {}),
            thumbs.get(variant.pk, NO_THUMBS),
            {metric: scores.get((variant.pk, metric.pk)) for metric in columns},
        )
        for variant in (experiment.variants.order_by("id") if variants is None else variants)
    ]


def _cells_of(experiment: Experiment, batch: Batch | None) -> Which:
    def which(at: str) -> Q:
        cells = Q(**{f"{at}experiment": experiment.pk})
        return cells & Q(**{f"{at}batch": batch.pk}) if batch else cells

    return which


def _sums() -> dict[str, Any]:
    cells = {f"cells_{state}": Count("pk", filter=Q(state=state)) for state in ExperimentRun.State.values}
    return {
        **cells,
        "latency_n": Count("pk", filter=COMPARABLE),
        "latency_mean": Avg("latency_ms", filter=COMPARABLE),
        "cold_starts": Count("pk", filter=SUCCEEDED & Q(cold_start=True)),
        "cached": Count("pk", filter=CACHED),
        "input_sum": Sum("input_tokens", filter=SUCCEEDED),
        "output_sum": Sum("output_tokens", filter=SUCCEEDED),
        "input_mean": Avg("input_tokens", filter=SUCCEEDED),
        "output_mean": Avg("output_tokens", filter=SUCCEEDED),
    }


def _latencies_by_rank(
    runs: QuerySet[ExperimentRun], counts: Mapping[UUID, int]
) -> dict[UUID, dict[int, float]]:
    """For each variant the few latencies that its percentiles need, by rank (1 is the fastest)."""
    if not counts:
        return {}
    rank = Window(RowNumber(), partition_by=F("variant_id"), order_by=[F("latency_ms").asc(), F("id").asc()])
    needed = Q()
    for variant, n in counts.items():
        needed |= Q(variant_id=variant, rank__in={*_ranks(n, 0.5), *_ranks(n, 0.95)})
    found: dict[UUID, dict[int, float]] = {}
    rows: QuerySet[Any] = runs.filter(COMPARABLE).order_by().annotate(rank=rank).filter(needed)
    for variant, number, latency in rows.values_list("variant_id", "rank", "latency_ms"):
        found.setdefault(variant, {})[number] = latency
    return found


def _ranks(n: int, share: float) -> tuple[int, int]:
    position = 1 + (n - 1) * share
    return math.floor(position), math.ceil(position)


def _percentile(by_rank: Mapping[int, float], n: int, share: float) -> float | None:
    """Between the two nearest values, as PostgreSQL's percentile_cont has it."""
    if not n:
        return None
    low, high = _ranks(n, share)
    return by_rank[low] + (by_rank[high] - by_rank[low]) * (1 + (n - 1) * share - low)


def _result(
    variant: ExperimentVariant,
    sums: Mapping[str, Any],
    by_rank: Mapping[int, float],
    thumbs: Thumbs,
    scores: Mapping[EvalMetricDefinition, Summed | None],
) -> VariantResult:
    cells = {state: sums.get(f"cells_{state}", 0) for state in ExperimentRun.State.values}
    n = sums.get("latency_n", 0)
    answered = cells[ExperimentRun.State.SUCCEEDED]
    return VariantResult(
        variant=variant,
        cells={**cells, "total": sum(cells.values())},
        thumbs=thumbs,
        latency=Latency(
            n=n,
            cold_starts=sums.get("cold_starts", 0),
            cached=sums.get("cached", 0),
            mean=sums.get("latency_mean"),
            p50=_percentile(by_rank, n, 0.5),
            p95=_percentile(by_rank, n, 0.95),
        ),
        tokens=Tokens(
            sums.get("input_sum"), sums.get("output_sum"), sums.get("input_mean"), sums.get("output_mean")
        ),
        metrics=[_metric_result(metric, found, answered) for metric, found in scores.items()],
    )


def _metric_result(metric: EvalMetricDefinition, found: Summed | None, answered: int) -> MetricResult:
    if found is None:
        return MetricResult(metric, 0, answered, None)
    return MetricResult(
        metric=metric,
        n=found.given,
        missing=answered - found.cells,
        mean=found.moments.mean,
        cells=found.cells,
        inputs=found.moments.n,
        interval=_interval(found, Measure.of(metric)),
    )


def _interval(found: Summed, measure: Measure) -> Interval:
    if not found.plain:
        return statistics.mean_interval(found.moments, bounds=measure.bounds)
    inputs = found.moments.n
    if found.given == inputs:  # one score each: these are trials, one apart from the other
        return statistics.wilson(round(found.moments.mean * inputs), inputs)
    return statistics.clustered_wilson(found.moments, found.cells)


def _thumbs(which: Which) -> Mapping[UUID, Thumbs]:
    """By variant, of those that have any."""
    found = figures.sums(figures.thumbs(which, part=_part), "part")
    return {variant: _thumbs_of(rate) for (variant,), rate in found.items()}


def _thumbs_of(rate: Summed) -> Thumbs:
    up = round(rate.total)
    return Thumbs(up, rate.given - up, rate.moments.mean, _interval(rate, figures.THUMBS))


def _part(at: str) -> F:
    return F(f"{at}variant_id")
