from __future__ import annotations

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.text import NORMALISATION, normalised


class ExactMatch(Evaluator):
    """1 where the answer is the expected one, else 0. No score without an expected answer."""

    kind = "exact_match"
    title = "Exact match"
    description = "1 where the answer is the expected one, but for differences that are ignored, else 0."
    config_schema = {"type": "object", "properties": {**NORMALISATION}, "additionalProperties": False}

    def evaluate(self, sample: Sample) -> Verdict:
        if sample.expected is None:
            return Verdict(None, "The input has no expected answer.")
        return Verdict.passed(
            normalised(sample.output, self.config) == normalised(sample.expected, self.config)
        )
