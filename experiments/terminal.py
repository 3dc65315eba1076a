"""What commands share: in whose name they act, how far a run is, and what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.core.management.base import CommandError

from evalsuite.orgs.models import User
from experiments.models import Batch
from experiments.pipeline.gates import Judged, Outcome
from experiments.services import wording
from experiments.services.comparison import Comparison
from experiments.services.results import MetricResult, VariantResult

USAGE = 2  # exit status for what was asked wrongly
LOOK_S = 0.2
LINE_EVERY_S = 5.0  # where the lines are kept, as in a log
BAR = 30  # characters


def person(username: str | None) -> User | None:
    """Whom `--author` names; None where it was not given. Raises CommandError."""
    if username is None:
        return None
    found = User.objects.filter(username=username).first()
    if found is None:
        raise CommandError(f"There is no user {username}.", returncode=USAGE)
    return found


class Screen(Protocol):
    def write(self, text: str, /) -> Any: ...
    def flush(self) -> Any: ...
    def isatty(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Count:
    """Cells of a batch. `failed` and `cancelled` are among the `closed`."""

    closed: int
    failed: int
    cancelled: int
    total: int


def count(batch: Batch) -> Count:
    row = Batch.objects.with_progress().get(pk=batch.pk)
    succeeded, failed, cancelled = (getattr(row, state) for state in ("succeeded", "failed", "cancelled"))
    return Count(succeeded + failed + cancelled, failed, cancelled, row.total)


def watch(batch: Batch, screen: Screen, *, timeout_s: float | None = None) -> bool:
    """Show how far the batch is until it has ended.

    False where it goes on after `timeout_s`, or stands still until a person does something.
    """
    begin = time.monotonic()
    show = _bar(screen) if screen.isatty() else _lines(screen)
    while True:
        batch.refresh_from_db(fields=["state", "paused_reason", "finished_at"])
        seconds = time.monotonic() - begin
        ended = batch.finished_at is not None
        show(progress(count(batch), seconds), ended)
        if ended:
            return True
        if batch.waits_for_a_person or (timeout_s is not None and seconds >= timeout_s):
            return False
        time.sleep(LOOK_S)


def watch_evaluations(batch: Batch, screen: Screen, *, timeout_s: float | None = None) -> bool:
    """Show how far the evaluators are that take their time; False where they go on after `timeout_s`.

    Nothing is shown where there are none.
    """
    begin = time.monotonic()
    show = _bar(screen) if screen.isatty() else _lines(screen)
    while True:
        counts = batch.evaluations.counts()
        pending, total = counts["pending"], sum(counts.values())
        seconds = time.monotonic() - begin
        if total:
            show(f"{_filled(total - pending, total)} evaluations, {seconds:.0f} s", not pending)
        if not pending:
            return True
        if timeout_s is not None and seconds >= timeout_s:
            return False
        time.sleep(LOOK_S)


def progress(cells: Count, seconds: float) -> str:
    """Such as `[#####.....] 12/48 cells, 3 s, about 9 s left`."""
    text = f"{_filled(cells.closed, cells.total)} cells, {seconds:.0f} s"
    if cells.failed:
        text += f", {cells.failed} failed"
    if 0 < cells.closed < cells.total:
        text += f", about {seconds / cells.closed * (cells.total - cells.closed):.0f} s left"
    return text


def _filled(done: int, total: int) -> str:
    filled = BAR * done // total
    return f"[{'#' * filled}{'.' * (BAR - filled)}] {done}/{total}"


def _bar(screen: Screen) -> Callable[[str, bool], None]:
    def show(text: str, ended: bool) -> None:
        screen.write(f"\r\033[K{text}{chr(10) if ended else ''}")
        screen.flush()

    return show


def _lines(screen: Screen) -> Callable[[str, bool], None]:
    last = time.monotonic()

    def show(text: str, ended: bool) -> None:
        nonlocal last
        if ended or time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            screen.write(f"{text}\n")
            screen.flush()

    return show


def table(results: Sequence[VariantResult]) -> str:
    """A line for each variant, a column for each metric."""
    metrics = [metric.metric for metric in results[0].metrics] if results else []
    heads = ["variant", "cells", "failed", "mean latency", "tokens in", "tokens out"]
    heads += ["share correct" if metric.key == "correctness" else metric.name for metric in metrics]
    return _aligned([heads, *([*_facts(result), *_means(result)] for result in results)])


def _facts(result: VariantResult) -> list[str]:
    mean = result.latency.mean
    tokens = (result.tokens.input, result.tokens.output)
    return [
        result.variant.name,
        str(result.cells["total"]),
        str(result.cells["failed"]),
        "-" if mean is None else f"{mean:,.0f} ms",
        *("-" if number is None else f"{number:,}" for number in tokens),
    ]


def _means(result: VariantResult) -> list[str]:
    return [_mean(score) for score in result.metrics]


def _mean(score: MetricResult) -> str:
    """Such as `83% (71%-91%)`, with the 95 % interval where there is one."""
    if score.mean is None:
        return "-"
    shown: Callable[[float], str] = "{:.0%}".format if score.metric.key == "correctness" else "{:.3g}".format
    low, high = score.interval.low, score.interval.high
    between = "" if low is None or high is None else f" ({shown(low)} to {shown(high)})"
    return f"{shown(score.mean)}{between}"


def verdicts(judged: Judged) -> list[str]:
    """A line for each comparison and each gate."""
    lines = [wording.sentence(one) for one in judged.comparisons]
    lines += [f"{variant} has no counterpart in the baseline." for variant in judged.unmatched]
    for gate in judged.gates:
        lines.append(f"{GATE_WORDS[gate.outcome]}  {gate.variant}: {gate.name}. {gate.note}")
    return lines


GATE_WORDS = {Outcome.HOLDS: "ok    ", Outcome.BROKEN: "BROKEN", Outcome.UNKNOWN: "???   "}


def document(batch: Batch, results: Sequence[VariantResult], judged: Judged) -> dict[str, Any]:
    """The same for scripts. Durations in milliseconds; null where nothing is known."""
    cells = count(batch)
    return {
        "experimentId": str(batch.experiment_id),
        "batchId": str(batch.pk),
        "state": batch.state,
        "cells": {
            "total": cells.total,
            "succeeded": cells.closed - cells.failed - cells.cancelled,
            "failed": cells.failed,
            "cancelled": cells.cancelled,
        },
        "variants": [_variant_document(result) for result in results],
        "comparisons": [_comparison_document(one) for one in judged.comparisons],
        "gates": [
            {
                "name": gate.name,
                "variantId": str(gate.variant.pk),
                "outcome": gate.outcome.value,
                "note": gate.note,
            }
            for gate in judged.gates
        ],
    }


def _comparison_document(one: Comparison) -> dict[str, Any]:
    return {
        "metricKey": one.metric_key,
        "variantId": str(one.candidate.variant.pk),
        "baselineVariantId": str(one.baseline.variant.pk),
        "baselineBatchId": str(one.baseline.batch.pk) if one.baseline.batch else None,
        "call": one.call.value,
        "words": wording.sentence(one),
        "pairs": one.pairs,
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "adjustedP": one.adjusted_p,
        "method": one.method,
    }


def _variant_document(result: VariantResult) -> dict[str, Any]:
    return {
        "variantId": str(result.variant.pk),
        "name": result.variant.name,
        "cells": dict(result.cells),
        "latencyMs": {"mean": result.latency.mean, "p50": result.latency.p50, "p95": result.latency.p95},
        "tokens": {"input": result.tokens.input, "output": result.tokens.output},
        "metrics": {
            score.metric.key: {
                "mean": score.mean,
                "low": score.interval.low,
                "high": score.interval.high,
                "scored": score.n,
                "missing": score.missing,
            }
            for score in result.metrics
        },
    }


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_cells(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cells(row: list[str], widths: list[int]) -> list[str]:
    """The name to the left, numbers to the right."""
    return [
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
