from __future__ import annotations

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.json_text import FENCED, NotJson, Unreadable, read

KINDS_OF_VALUES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
}


class JsonValid(Evaluator):
    """1 where the answer is JSON, and nothing but JSON, else 0."""

    kind = "json_valid"
    title = "Valid JSON"
    description = "1 where the whole answer is JSON, else 0."
    config_schema = {
        "type": "object",
        "properties": {
            "allowFence": FENCED,
            "type": {
                "enum": ["any", *KINDS_OF_VALUES],
                "default": "any",
                "title": "Kind of value",
                "description": "What the JSON must be.",
            },
        },
        "additionalProperties": False,
    }

    def evaluate(self, sample: Sample) -> Verdict:
        try:
            value = read(sample.output, fenced=self.config["allowFence"])
        except NotJson as error:
            return Verdict(0.0, str(error))
        except Unreadable as error:
            return Verdict(None, str(error))
        wanted = self.config["type"]
        fits = wanted == "any" or isinstance(value, KINDS_OF_VALUES[wanted])
        if wanted == "number" and isinstance(value, bool):  # true is a number in Python alone
            fits = False
        return Verdict.passed(fits, f"The JSON is no {wanted}.")
