"""What Prometheus is told. Increment after commit: a metric cannot be rolled back."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

LATENCY_MS = (50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 60_000, 120_000, 300_000)
_CELL = ("orgId", "experimentId", "variantId")

PLAYGROUND_REQUESTS = Counter(
    "playground_requests_total", "Completions asked for.", ("orgId", "modelProvider", "modelName")
)
PLAYGROUND_LATENCY = Histogram(
    "playground_latency_ms", "Whole completions, in milliseconds.", buckets=LATENCY_MS
)
EXPERIMENT_RUNS = Counter("experiment_runs_total", "Cells that were closed with a result.", _CELL)
EXPERIMENT_LATENCY = Histogram(
    "experiment_latency_ms", "Succeeded cells, in milliseconds.", _CELL, buckets=LATENCY_MS
)
THUMBS_UP = Counter("experiment_feedback_thumbs_up_total", "Thumbs set to up.", _CELL)
THUMBS_DOWN = Counter("experiment_feedback_thumbs_down_total", "Thumbs set to down.", _CELL)
