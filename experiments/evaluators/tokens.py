from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.limits import broken, contradictions, limit, verdict

PAIRS = (("minInput", "maxInput"), ("minOutput", "maxOutput"))


class Tokens(Evaluator):
    """1 where the call used as many tokens as it may, else 0."""

    kind = "tokens"
    title = "Token limits"
    description = "1 where the prompt and the answer keep limits of tokens, else 0."
    config_schema = {
        "type": "object",
        "properties": {
            "minInput": limit("At least so many tokens of prompt"),
            "maxInput": limit("At most so many tokens of prompt"),
            "minOutput": limit("At least so many tokens of answer"),
            "maxOutput": limit("At most so many tokens of answer"),
        },
        "additionalProperties": False,
    }

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        return contradictions(config, *PAIRS)

    def evaluate(self, sample: Sample) -> Verdict:
        figures = (sample.input_tokens, "tokens of prompt"), (sample.output_tokens, "tokens of answer")
        reasons = []
        for pair, (figure, noun) in zip(PAIRS, figures, strict=True):
            if not any(name in self.config for name in pair):
                continue
            if figure is None:
                return Verdict(None, f"The provider did not tell the {noun}.")
            reasons.append(broken(self.config, *pair, figure, noun))
        return verdict(*reasons)
