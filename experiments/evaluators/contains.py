from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.text import NORMALISATION, normalised, shown


class Contains(Evaluator):
    """1 where the answer holds all, any or none (as `mode` says) of the texts, else 0.

    Without `texts` the expected answer is looked for.
    """

    kind = "contains"
    title = "Contains"
    description = (
        "1 where the answer holds all, any or none of some texts, else 0. Without texts, the expected answer."
    )
    config_schema = {
        "type": "object",
        "properties": {
            "mode": {
                "enum": ["all", "any", "none"],
                "default": "all",
                "title": "Mode",
                "description": "all: every text is in the answer; any: at least one; none: not one.",
            },
            "texts": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 10_000},
                "maxItems": 100,
                "title": "Texts",
                "description": "Left empty, the input's expected answer is looked for.",
            },
            **NORMALISATION,
        },
        "additionalProperties": False,
    }

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        settings = {**cls.defaults(), **config}
        return {
            f"texts.{number}": ["Nothing is left of this text when what is ignored is taken away."]
            for number, text in enumerate(config.get("texts", []))
            if not normalised(text, settings)
        }

    def evaluate(self, sample: Sample) -> Verdict:
        texts = self.config.get("texts") or ([sample.expected] if sample.expected else [])
        wanted = {text: normalised(text, self.config) for text in texts}
        if not texts or not all(wanted.values()):
            return Verdict(None, "There is no text to look for: neither configured nor expected.")
        output = normalised(sample.output, self.config)
        found = [text for text in texts if wanted[text] in output]
        mode = self.config["mode"]
        if mode == "none":
            return Verdict.passed(not found, f"Found: {', '.join(map(shown, found[:3]))}")
        if mode == "any":
            return Verdict.passed(bool(found), "None of the texts was found.")
        lacking = [shown(text) for text in texts if text not in found]
        return Verdict.passed(not lacking, f"Not found: {', '.join(lacking[:3])}")
