"""Letting the evaluators of an experiment judge an answer."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from evalsuite.prepared import Prepared
from experiments.evaluators.base import Evaluator as EvaluatorCode
from experiments.evaluators.base import Sample, Verdict
from experiments.evaluators.registry import build, calls_a_model
from experiments.models import EvalMetricDefinition, EvalScore, Evaluator, Experiment, ExperimentRun
from experiments.services.claiming import Cell
from experiments.services.metric_definitions import off_scale
from llm_routing.types import Completion, Message

log = logging.getLogger(__name__)

ATTACHED = Prepared(
    lambda experiment: Evaluator.objects.filter(experiment=experiment, enabled=True).select_related("metric"),
    UUID,
)
TOO_LATE = "The evaluator was attached while this cell was under way; evaluate again."


@dataclass(frozen=True, slots=True)
class Judgement:
    """Unsaved scores, and by evaluator id the reason of each score that is missing."""

    given: list[EvalScore]
    missing: dict[str, str]


class Panel:
    """The evaluators of one experiment that are switched on and work beside the cells, ready to judge."""

    def __init__(self, experiment: Experiment) -> None:
        rows = ATTACHED.all(experiment.pk)
        # Those that call a model look at the answer later, from a queue of their own.
        self.callers = [row.pk for row in rows if calls_a_model(row.kind)]
        self._members: list[tuple[Evaluator, EvaluatorCode]] = [
            (row, build(row.kind, row.config)) for row in rows if not calls_a_model(row.kind)
        ]

    def __bool__(self) -> bool:
        """False where nobody would judge: answers need not be looked at then."""
        return bool(self._members)

    def judge(self, run_id: UUID, sample: Sample | None) -> Judgement:
        """What the evaluators make of one answer. None: it came before anybody asked for its input."""
        judgement = Judgement([], {})
        if sample is None:
            return Judgement([], {str(row.pk): TOO_LATE for row, _ in self._members})
        for row, evaluator in self._members:
            verdict = verdict_on(sample, evaluator, row.metric)
            if verdict.value is None:
                judgement.missing[str(row.pk)] = verdict.note
                continue
            judgement.given.append(
                EvalScore(
                    run_id=run_id,
                    metric_id=row.metric_id,
                    evaluator=row,
                    value=verdict.value,
                    note=verdict.note or None,
                )
            )
        return judgement


def sample_of_answer(cell: Cell, completion: Completion) -> Sample | None:
    """A fresh answer. None where the cell was claimed without its snapshot."""
    if not cell.snapshot:
        return None
    timings = None if cell.cached_from else completion.timings
    return Sample(
        output=completion.content,
        **_of_input(cell.snapshot),
        messages=cell.request.messages,
        latency_ms=timings.total_ms if timings else None,
        first_token_ms=timings.first_token_ms if timings else None,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        stop_reason=completion.stop_reason,
        cold_start=completion.cold_start,
    )


def sample_of_run(run: ExperimentRun) -> Sample:
    """An answer that was recorded."""
    return Sample(
        output=run.output,
        **_of_input(run.snapshot),
        messages=tuple(Message(one["role"], one["content"]) for one in run.messages),
        latency_ms=run.latency_ms,
        first_token_ms=None if run.is_cached else run.first_token_ms,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        stop_reason=run.stop_reason or None,
        cold_start=run.cold_start,
    )


def _of_input(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Of batches that were planned before it was kept, the metadata is empty."""
    return {
        "content": snapshot.get("content", ""),
        "expected": snapshot.get("expected"),
        "metadata": snapshot.get("metadata") or {},
    }


def verdict_on(sample: Sample, evaluator: EvaluatorCode, metric: EvalMetricDefinition) -> Verdict:
    """Never raises: trouble, and a value off the metric's scale, is a missing score with its reason."""
    try:
        verdict = evaluator.evaluate(sample)
    except Exception as error:
        # An evaluator's trouble is a missing score: it must never cost us the answer itself.
        log.exception("the evaluator %s failed", evaluator.kind)
        return Verdict(None, f"The evaluator failed: {type(error).__name__}.")
    if verdict.value is not None and not math.isfinite(verdict.value):
        return Verdict(None, "The evaluator gave no finite number.")
    if verdict.value is not None and (reason := off_scale(metric, verdict.value)) is not None:
        return Verdict(None, f"The value {verdict.value:g} is off the scale. {reason}")
    return verdict
