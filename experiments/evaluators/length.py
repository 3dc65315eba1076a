from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.limits import broken, contradictions, limit, verdict

PAIRS = (("minCharacters", "maxCharacters"), ("minWords", "maxWords"))


class Length(Evaluator):
    """1 where the answer is as long as it may be, else 0."""

    kind = "length"
    title = "Length"
    description = "1 where the answer keeps limits of characters and words, else 0."
    config_schema = {
        "type": "object",
        "properties": {
            "minCharacters": limit("At least so many characters"),
            "maxCharacters": limit("At most so many characters"),
            "minWords": limit("At least so many words"),
            "maxWords": limit("At most so many words"),
        },
        "additionalProperties": False,
    }

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        return contradictions(config, *PAIRS)

    def evaluate(self, sample: Sample) -> Verdict:
        figures = (len(sample.output), "characters"), (len(sample.output.split()), "words")
        reasons = [
            broken(self.config, *pair, figure, noun)
            for pair, (figure, noun) in zip(PAIRS, figures, strict=True)
        ]
        return verdict(*reasons)
