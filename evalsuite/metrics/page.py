"""The page that Prometheus reads."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from evalsuite.metrics import folding, hooks, slow
from evalsuite.metrics.changes import BUCKETS
from evalsuite.metrics.families import FAMILIES, LATENCY_MS, Family
from evalsuite.metrics.hooks import Labels, Window

log = logging.getLogger(__name__)

BOUNDS = [*(f"{bound}.0" for bound in LATENCY_MS), "+Inf"]
Series = dict[Labels, list[float]]


def text() -> bytes:
    """All figures of the installation, then those of this web process (or of all on this machine).

    Raises DatabaseError while there is none: figures that are not there are no figures.
    """
    registry = CollectorRegistry()
    registry.register(_Installation())
    return generate_latest(registry) + _of_this_machine()


def _of_this_machine() -> bytes:
    """Django's requests and Python's memory. One of several processes cannot tell those of the others."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return b"" if multiprocessing.parent_process() else generate_latest(REGISTRY)


class _Installation(Collector):
    def collect(self) -> Iterator[Metric]:
        found: dict[str, Series] = {name: {} for name in FAMILIES}
        window = folding.fold()
        slow.refresh(window)
        for name, labels, numbers in folding.totals():
            found[name][labels] = numbers
        for family, labels, value in _gauges():
            found[family.name].setdefault(labels, [value])
        for name, family in FAMILIES.items():
            if family.of_cells:
                _begin_at_zero(found[name], family, window)
            yield _metric(family, found[name])


def _gauges() -> Iterator[hooks.Sample]:
    yield from slow.samples()
    for gauges in hooks.gauges().values():
        yield from gauges()


def _begin_at_zero(series: Series, family: Family, window: Window) -> None:
    """A series that is there before its first event: no increase is missed."""
    zero = [0.0] * (1 + BUCKETS if family.kind == "histogram" else 1)
    for labels in window.variants.values():
        series.setdefault(labels, zero)


def _metric(family: Family, series: Series) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, (total, *counts) in _or_zero(family, series, 1 + BUCKETS):
            buckets = list(zip(BOUNDS, accumulate(counts), strict=True))
            histogram.add_metric(labels, buckets, sum_value=total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, (value,) in _or_zero(family, series, 1):
        metric.add_metric(labels, value)
    return metric


def _or_zero(family: Family, series: Series, length: int) -> Iterable[tuple[Labels, list[float]]]:
    """One without labels has a series from the beginning."""
    return series.items() if series or family.labels else [((), [0.0] * length)]
