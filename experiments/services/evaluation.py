"""Letting the evaluators of an experiment judge an answer."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from experiments.evaluators.base import Evaluator as EvaluatorCode
from experiments.evaluators.base import Sample, Verdict
from experiments.evaluators.registry import KINDS
from experiments.models import EvalScore, Evaluator, Experiment

log = logging.getLogger(__name__)


class Panel:
    """The evaluators that are switched on for one experiment, ready to judge."""

    def __init__(self, experiment: Experiment) -> None:
        rows = Evaluator.objects.filter(experiment=experiment, enabled=True)
        self._members: list[tuple[Evaluator, EvaluatorCode]] = [
            (row, KINDS[row.kind](row.config)) for row in rows
        ]

    def judge(
        self, run_id: UUID, output: str, snapshot: Mapping[str, Any]
    ) -> tuple[list[EvalScore], dict[str, str]]:
        """Unsaved scores, and by evaluator id the reason of each score that is missing."""
        sample = Sample(output=output, content=snapshot["content"], expected=snapshot["expected"])
        scores: list[EvalScore] = []
        missing: dict[str, str] = {}
        for row, evaluator in self._members:
            verdict = _verdict(evaluator, sample)
            if verdict.value is None:
                missing[str(row.pk)] = verdict.note
                continue
            scores.append(
                EvalScore(
                    run_id=run_id,
                    metric_id=row.metric_id,
                    evaluator=row,
                    value=verdict.value,
                    note=verdict.note or None,
                )
            )
        return scores, missing


def _verdict(evaluator: EvaluatorCode, sample: Sample) -> Verdict:
    try:
        verdict = evaluator.evaluate(sample)
    except Exception as error:
        # An evaluator's trouble is a missing score: it must never cost us the answer itself.
        log.exception("the evaluator %s failed", evaluator.kind)
        return Verdict(None, f"The evaluator failed: {type(error).__name__}.")
    if verdict.value is not None and not math.isfinite(verdict.value):
        return Verdict(None, "The evaluator gave no finite number.")
    return verdict
