"""What can be taken out of an experiment as a file: its inputs, its runs, and the scores of its runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Avg, Model, QuerySet

from experiments.models import Batch, EvalMetricDefinition, EvalScore, Experiment, ExperimentRun

AT_ONCE = 1_000  # rows that are in memory
M = TypeVar("M", bound=Model)
Row = Sequence[Any]

RUN_COLUMNS = {
    "runId": "id",
    "batchId": "batch_id",
    "variant": "variant__name",
    "inputKey": "input__key",
    "content": "input__content",
    "expected": "input__expected",
    "repeat": "repeat",
    "state": "state",
    "modelProvider": "model_provider",
    "modelName": "model_name",
    "modelDigest": "model_digest",
    "temperature": "temperature",
    "topP": "top_p",
    "maxTokens": "max_tokens",
    "output": "output",
    "stopReason": "stop_reason",
    "errorCode": "error_code",
    "errorMessage": "error_message",
    "latencyMs": "latency_ms",
    "firstTokenMs": "first_token_ms",
    "tokensPerSecond": "tokens_per_second",
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "coldStart": "cold_start",
    "mayBeCut": "may_be_cut",
    "thumbsUp": "thumbs_up",
    "note": "feedback_note",
    "createdAt": "created_at",
    "finishedAt": "finished_at",
}
SCORE_COLUMNS = {
    "runId": "run_id",
    "batchId": "run__batch_id",
    "variant": "run__variant__name",
    "inputKey": "run__input__key",
    "metricKey": "metric__key",
    "value": "value",
    "note": "note",
    "rater": "rater__username",
    "evaluator": "evaluator__name",
    "createdAt": "created_at",
}


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` may be gone through once, and reads as it goes: a million rows never are in memory."""

    name: str
    headers: Sequence[str]
    rows: Iterator[Row]


def inputs(experiment: Experiment, batch: Batch | None = None) -> Table:
    """In the form that an import takes. `batch`: only the inputs that it ran."""
    rows = experiment.inputs.all()
    if batch is not None:
        rows = rows.filter(pk__in=batch.runs.order_by().values("input"))
    pages = _pages(rows, ("id", "key", "content", "expected", "metadata"))
    return Table(
        "inputs",
        ("key", "content", "expected", "metadata"),
        (
            (key, content, expected, metadata)
            for page in pages
            for _, key, content, expected, metadata in page
        ),
    )


def runs(experiment: Experiment, batch: Batch | None = None) -> Table:
    """One row for each cell, with its mean score (over raters and evaluators) for each metric."""
    cells = _of(experiment.runs.all(), batch, "batch")
    used = EvalScore.objects.filter(run__in=cells.order_by()).order_by().values("metric")
    metrics = list(EvalMetricDefinition.objects.filter(pk__in=used).order_by("key").values_list("pk", "key"))
    headers = [*RUN_COLUMNS, *(f"score.{key}" for _, key in metrics)]
    return Table("runs", headers, _with_scores(cells, [pk for pk, _ in metrics]))


def _with_scores(cells: QuerySet[ExperimentRun], metrics: Sequence[UUID]) -> Iterator[Row]:
    for page in _pages(cells, tuple(RUN_COLUMNS.values())):
        means: dict[UUID, dict[UUID, float]] = defaultdict(dict)
        if metrics:
            scores = EvalScore.objects.filter(run__in=[row[0] for row in page]).order_by()
            for run, metric, mean in scores.values_list("run", "metric").annotate(mean=Avg("value")):
                means[run][metric] = mean
        for row in page:
            yield (*row, *(means[row[0]].get(metric) for metric in metrics))


def scores(experiment: Experiment, batch: Batch | None = None) -> Table:
    """Each score with who gave it: a person, or an evaluator."""
    rows = _of(EvalScore.objects.filter(run__experiment=experiment), batch, "run__batch")
    pages = _pages(rows, ("id", *SCORE_COLUMNS.values()))
    return Table("scores", tuple(SCORE_COLUMNS), (row[1:] for page in pages for row in page))


TABLES: dict[str, Callable[[Experiment, Batch | None], Table]] = {
    "inputs": inputs,
    "runs": runs,
    "scores": scores,
}


def _of(rows: QuerySet[M], batch: Batch | None, path: str) -> QuerySet[M]:
    return rows if batch is None else rows.filter(**{path: batch})


def _pages(rows: QuerySet[Any], columns: Sequence[str]) -> Iterator[list[Row]]:
    """In the order of their ids, which comes first among the columns. No cursor stays open between pages."""
    rows = rows.order_by("pk")
    page = list(rows.values_list(*columns)[:AT_ONCE])
    while page:
        yield page
        page = list(rows.filter(pk__gt=page[-1][0]).values_list(*columns)[:AT_ONCE])


def as_text(value: Any) -> Any:
    """As a cell holds it: numbers stay numbers, the rest becomes text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
