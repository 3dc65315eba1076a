from __future__ import annotations

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.text import NORMALISATION, normalised


class Contains(Evaluator):
    """1 where the answer holds all, any or none (as `mode` says) of the texts, else 0.

    Without `texts` the expected answer is looked for.
    """

    kind = "contains"
    title = "Contains"
    config_schema = {
        "type": "object",
        "properties": {
            **NORMALISATION,
            "mode": {"enum": ["all", "any", "none"], "default": "all"},
            "texts": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 100},
        },
        "additionalProperties": False,
    }

    def evaluate(self, sample: Sample) -> Verdict:
        texts = self.config.get("texts") or ([sample.expected] if sample.expected else [])
        if not texts:
            return Verdict(None, "There is no text to look for: neither configured nor expected.")
        output = normalised(sample.output, self.config)
        found = [normalised(text, self.config) in output for text in texts]
        mode = self.config.get("mode", "all")
        holds = {"all": all(found), "any": any(found), "none": not any(found)}[mode]
        return Verdict(1.0 if holds else 0.0)
