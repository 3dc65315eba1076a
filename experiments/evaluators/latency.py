from __future__ import annotations

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.limits import limit


class Latency(Evaluator):
    """1 where the answer came in time, else 0. No score for a cold start or an answer without a call."""

    kind = "latency"
    title = "Latency limit"
    description = "1 where the answer came in time, else 0. Cold starts and cached answers have no score."
    config_schema = {
        "type": "object",
        "properties": {
            "maxMs": {**limit("At most so many milliseconds", minimum=1)},
            "of": {
                "enum": ["answer", "firstToken"],
                "default": "answer",
                "title": "Until",
                "description": "answer: the whole answer is there; firstToken: it begins to come.",
            },
        },
        "required": ["maxMs"],
        "additionalProperties": False,
    }

    def evaluate(self, sample: Sample) -> Verdict:
        if sample.cold_start:
            return Verdict(None, "A cold start: the model was loaded first.")
        took = sample.latency_ms if self.config["of"] == "answer" else sample.first_token_ms
        if took is None:
            return Verdict(None, "The time is not known: the answer is cached, or the provider did not tell.")
        allowed = self.config["maxMs"]
        return Verdict.passed(took <= allowed, f"{took:,.0f} ms, at most {allowed:,} are allowed.")
