"""Results of an experiment, variant by variant, aggregated by the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, F, Q, QuerySet, Sum

from evalsuite.percentiles import Percentile
from evalsuite.prepared import Prepared
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

CACHED = SUCCEEDED & ExperimentRun.TAKEN_OVER
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
) -> list[VariantResult]:
    """One result for each variant, also for one that never ran; of one batch alone where asked for."""
    which = _cells_of(experiment, batch)
    rows = SUMS_OF_BATCH.rows(experiment.pk, batch.pk) if batch else SUMS.rows(experiment.pk)
    sums = {row["variant"]: row for row in rows}
    said = figures.sums(figures.judgements(which, part=_part), "part", "measure")
    metrics = EvalMetricDefinition.objects.filter(
        Q(pk__in=experiment.evaluators.order_by().values("metric"))
        | Q(pk__in={measure for _, measure in said})
    )
    columns = list(metrics.order_by("key"))
    return [
        _result(
            variant,
            sums.get(variant.pk, {}),
            said.get((variant.pk, figures.THUMBS.id)),
            {metric: said.get((variant.pk, metric.pk)) for metric in columns},
        )
        for variant in experiment.variants.all()
    ]


def _cells_of(experiment: Experiment, batch: Batch | None) -> Which:
    def which(at: str) -> Q:
        cells = Q(**{f"{at}experiment": experiment.pk})
        return cells & Q(**{f"{at}batch": batch.pk}) if batch else cells

    return which


def _sums(**which: Any) -> Any:
    cells = {f"cells_{state}": Count("pk", filter=Q(state=state)) for state in ExperimentRun.State.values}
    by_variant: QuerySet[Any, Any] = ExperimentRun.objects.filter(**which).order_by().values("variant")
    return by_variant.annotate(
        **cells,
        latency_n=Count("pk", filter=COMPARABLE),
        latency_mean=Avg("latency_ms", filter=COMPARABLE),
        latency_p50=Percentile("latency_ms", 0.5, filter=COMPARABLE),
        latency_p95=Percentile("latency_ms", 0.95, filter=COMPARABLE),
        cold_starts=Count("pk", filter=SUCCEEDED & Q(cold_start=True)),
        cached=Count("pk", filter=CACHED),
        input_sum=Sum("input_tokens", filter=SUCCEEDED),
        output_sum=Sum("output_tokens", filter=SUCCEEDED),
        input_mean=Avg("input_tokens", filter=SUCCEEDED),
        output_mean=Avg("output_tokens", filter=SUCCEEDED),
    )


SUMS = Prepared(lambda experiment: _sums(experiment=experiment), UUID)
SUMS_OF_BATCH = Prepared(lambda experiment, batch: _sums(experiment=experiment, batch=batch), UUID, UUID)


def _result(
    variant: ExperimentVariant,
    sums: Mapping[str, Any],
    thumbs: Summed | None,
    scores: Mapping[EvalMetricDefinition, Summed | None],
) -> VariantResult:
    cells = {state: sums.get(f"cells_{state}", 0) for state in ExperimentRun.State.values}
    answered = cells[ExperimentRun.State.SUCCEEDED]
    return VariantResult(
        variant=variant,
        cells={**cells, "total": sum(cells.values())},
        thumbs=_thumbs(thumbs) if thumbs else NO_THUMBS,
        latency=Latency(
            n=sums.get("latency_n", 0),
            cold_starts=sums.get("cold_starts", 0),
            cached=sums.get("cached", 0),
            mean=sums.get("latency_mean"),
            p50=sums.get("latency_p50"),
            p95=sums.get("latency_p95"),
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


def _thumbs(rate: Summed) -> Thumbs:
    up = round(rate.total)
    return Thumbs(up, rate.given - up, rate.moments.mean, _interval(rate, figures.THUMBS))


def _part(at: str) -> F:
    return F(f"{at}variant_id")
