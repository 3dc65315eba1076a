"""The figures of each variant as charts: means with their intervals, one chart for each quality."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import charts
from experiments.charts import Chart, Figure
from experiments.models import Batch
from experiments.services.results import MetricResult, VariantResult, results_of

INTERVALS = "Means with their 95 % intervals."


def results_in(batch: Batch) -> list[VariantResult]:
    """Of the variants that are in the batch."""
    return [result for result in results_of(batch.experiment, batch=batch) if result.cells["total"]]


def charts_of(results: Sequence[VariantResult]) -> list[Chart]:
    """Every metric with a score, thumbs, latency and tokens; what has no value at all has no chart."""
    if not results:
        return []
    columns = range(len(results[0].metrics))
    found = [
        *(_of_metric([(result, result.metrics[column]) for result in results]) for column in columns),
        _of_thumbs(results),
        _of_latency(results),
        _of_tokens(results),
    ]
    return [chart for chart in found if chart]


def _of_metric(of_variants: Sequence[tuple[VariantResult, MetricResult]]) -> Chart | None:
    metric = of_variants[0][1].metric
    figures = [
        Figure(result.variant.name, one.mean, one.interval.low, one.interval.high, one.cells)
        for result, one in of_variants
    ]
    note = f"{metric.get_direction_display().capitalize()}. {INTERVALS}"
    return charts.whiskers(metric.name, figures, note=note, low=metric.minimum, high=metric.maximum)


def _of_thumbs(results: Sequence[VariantResult]) -> Chart | None:
    figures = [
        Figure(
            one.variant.name,
            one.thumbs.rate,
            one.thumbs.interval.low,
            one.thumbs.interval.high,
            one.thumbs.up + one.thumbs.down,
        )
        for one in results
    ]
    return charts.whiskers("Thumbs up", figures, note=f"Share of all thumbs. {INTERVALS}", low=0, high=1)


def _of_latency(results: Sequence[VariantResult]) -> Chart | None:
    figures = [
        Figure(one.variant.name, one.latency.p50, one.latency.p50, one.latency.p95, one.latency.n)
        for one in results
    ]
    note = "Lower is better. From p50 to p95, without cold starts and cached answers."
    return charts.whiskers("Latency", figures, note=note, low=0, unit="ms", is_interval=False)


def _of_tokens(results: Sequence[VariantResult]) -> Chart | None:
    figures = [Figure(one.variant.name, one.tokens.output_mean, n=one.cells["succeeded"]) for one in results]
    return charts.whiskers("Output tokens", figures, note="Mean of an answer.", low=0)
