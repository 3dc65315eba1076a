"""A summary in Markdown, for a pull request or a job's page.

Whatever people or models wrote (names, keys, messages) is set as code, in which nothing is markup, a link,
HTML or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from experiments.models import Batch
from experiments.pipeline.gates import Gate, Judged, Outcome
from experiments.services import wording
from experiments.services.results import MetricResult, VariantResult

LONGEST = 200  # characters of a text of others
MARKS = {Outcome.HOLDS: "✅ holds", Outcome.BROKEN: "❌ broken", Outcome.UNKNOWN: "⚠️ cannot be judged"}


def code(text: str) -> str:
    """As code on one line, also within a table: fenced by more backticks than it has in a row."""
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
    line = line.replace("|", "\u00a6")  # a bar ends a table's cell, even within code
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if line else "` `"


def summary(batch: Batch, results: Sequence[VariantResult], judged: Judged, *, verdict: str) -> str:
    """`verdict` is a sentence of ours."""
    return "\n".join(
        [
            f"## {code(batch.experiment.name)}",
            "",
            f"**{verdict}**",
            "",
            f"Batch `{batch.pk}`, {batch.state}.",
            "",
            *_table(results),
            *_gates(judged.gates),
            *_comparisons(judged),
            "",
        ]
    )


def _table(results: Sequence[VariantResult]) -> Iterator[str]:
    if not results:
        return
    metrics = [code(found.metric.name) for found in results[0].metrics]
    heads = ["variant", "cells", "failed", "mean latency", "tokens out", "thumbs up", *metrics]
    yield _row(heads)
    yield _row(["---", *["---:"] * (len(heads) - 1)])
    for found in results:
        yield _row(_facts(found))


def _facts(found: VariantResult) -> list[str]:
    mean, tokens = found.latency.mean, found.tokens.output
    return [
        code(found.variant.name),
        f"{found.cells['total']:,}",
        f"{found.cells['failed']:,}",
        "" if mean is None else f"{mean:,.0f} ms",
        "" if tokens is None else f"{tokens:,}",
        "" if found.thumbs.rate is None else f"{found.thumbs.rate:.0%}",
        *map(_metric, found.metrics),
    ]


def _metric(found: MetricResult) -> str:
    if found.mean is None:
        return ""
    missing = f", {found.missing:,} missing" if found.missing else ""
    low, high = found.interval.low, found.interval.high
    if low is None or high is None:
        return f"{wording.figure(found.mean)}{missing}"
    return f"{wording.figure(found.mean)} ({wording.figure(low)} to {wording.figure(high)}){missing}"


def _gates(gates: Sequence[Gate]) -> Iterator[str]:
    if not gates:
        return
    yield from ("", "| gate | variant | |", "| --- | --- | --- |")
    for gate in gates:
        yield _row([code(gate.name), code(gate.variant.name), MARKS[gate.outcome]])


def _comparisons(judged: Judged) -> Iterator[str]:
    if judged.comparisons or judged.unmatched:
        yield ""
    for one in judged.comparisons:
        yield f"- {wording.sentence(one, code)}"
    for variant in judged.unmatched:
        yield f"- {code(variant.name)} has no counterpart in the baseline."


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
