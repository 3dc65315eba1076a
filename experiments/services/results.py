"""Results of an experiment, variant by variant, aggregated by the database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, F, Q, QuerySet, Sum, Window
from django.db.models.functions import RowNumber

from experiments.models import (
    Batch,
    EvalMetricDefinition,
    EvalScore,
    Experiment,
    ExperimentRun,
    ExperimentVariant,
)

SUCCEEDED = Q(state=ExperimentRun.State.SUCCEEDED)
# A cold start waited for the weights: its latency compares with nothing.
COMPARABLE = SUCCEEDED & Q(cold_start=False, latency_ms__isnull=False)


@dataclass(frozen=True, slots=True)
class Thumbs:
    up: int
    down: int

    @property
    def rate(self) -> float | None:
        """Thumbs up among all that were given, 0..1. None: nobody gave one."""
        given = self.up + self.down
        return self.up / given if given else None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, over the `n` answers that are no cold starts. None where n is 0."""

    n: int
    cold_starts: int
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
    """`n` scores; `missing` answers have none. The mean is over the scores there are."""

    metric: EvalMetricDefinition
    n: int
    missing: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class VariantResult:
    variant: ExperimentVariant
    cells: Mapping[str, int]  # by state, and their `total`
    thumbs: Thumbs
    latency: Latency
    tokens: Tokens
    metrics: list[MetricResult]


def results_of(experiment: Experiment, *, batch: Batch | None = None) -> list[VariantResult]:
    """One result for each variant, also for one that never ran; of one batch alone where asked for."""
    runs = ExperimentRun.objects.filter(experiment=experiment)
    if batch is not None:
        runs = runs.filter(batch=batch)
    rows: QuerySet[Any, Any] = runs.order_by().values("variant").annotate(**_sums())
    sums = {row["variant"]: row for row in rows}
    counts = {variant: row["latency_n"] for variant, row in sums.items() if row["latency_n"]}
    ranked = _latencies_by_rank(runs, counts)
    scores = _scores(runs)
    metrics = EvalMetricDefinition.objects.filter(
        Q(evaluators__experiment=experiment) | Q(pk__in={metric for _, metric in scores})
    )
    columns = list(metrics.distinct().order_by("key"))
    return [
        _result(variant, sums.get(variant.pk), ranked.get(variant.pk, {}), columns, scores)
        for variant in experiment.variants.order_by("id")
    ]


def _sums() -> dict[str, Any]:
    cells = {f"cells_{state}": Count("pk", filter=Q(state=state)) for state in ExperimentRun.State.values}
    return {
        **cells,
        "up": Count("pk", filter=Q(thumbs_up=True)),
        "down": Count("pk", filter=Q(thumbs_up=False)),
        "latency_n": Count("pk", filter=COMPARABLE),
        "latency_mean": Avg("latency_ms", filter=COMPARABLE),
        "cold_starts": Count("pk", filter=SUCCEEDED & Q(cold_start=True)),
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


def _scores(runs: QuerySet[ExperimentRun]) -> dict[tuple[UUID, UUID], dict[str, Any]]:
    """By variant and metric: scores, scored cells and mean. Only answers count, failed cells never do."""
    rows: QuerySet[Any, Any] = (
        EvalScore.objects.filter(run__in=runs.filter(SUCCEEDED).order_by())
        .order_by()
        .values("run__variant", "metric")
        .annotate(n=Count("pk"), cells=Count("run", distinct=True), mean=Avg("value"))
    )
    return {(row["run__variant"], row["metric"]): row for row in rows}


def _result(
    variant: ExperimentVariant,
    sums: Mapping[str, Any] | None,
    by_rank: Mapping[int, float],
    columns: Iterable[EvalMetricDefinition],
    scores: Mapping[tuple[UUID, UUID], Mapping[str, Any]],
) -> VariantResult:
    sums = sums or {}
    cells = {state: sums.get(f"cells_{state}", 0) for state in ExperimentRun.State.values}
    n = sums.get("latency_n", 0)
    answered = cells[ExperimentRun.State.SUCCEEDED]
    return VariantResult(
        variant=variant,
        cells={**cells, "total": sum(cells.values())},
        thumbs=Thumbs(sums.get("up", 0), sums.get("down", 0)),
        latency=Latency(
            n=n,
            cold_starts=sums.get("cold_starts", 0),
            mean=sums.get("latency_mean"),
            p50=_percentile(by_rank, n, 0.5),
            p95=_percentile(by_rank, n, 0.95),
        ),
        tokens=Tokens(
            sums.get("input_sum"), sums.get("output_sum"), sums.get("input_mean"), sums.get("output_mean")
        ),
        metrics=[_metric_result(metric, scores.get((variant.pk, metric.pk)), answered) for metric in columns],
    )


def _metric_result(
    metric: EvalMetricDefinition, row: Mapping[str, Any] | None, answered: int
) -> MetricResult:
    if row is None:
        return MetricResult(metric, 0, answered, None)
    return MetricResult(metric, row["n"], answered - row["cells"], row["mean"])
