from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.json_text import FENCED, NotJson, Unreadable, read
from experiments.evaluators.schemas import TooHeavy, TooMuch, first_problem, problems_of


class JsonSchema(Evaluator):
    """1 where the answer is JSON that fits a schema, else 0 with the first thing that does not fit."""

    kind = "json_schema"
    title = "JSON schema"
    description = "1 where the answer is JSON that fits a JSON schema (2020-12), else 0."
    config_schema = {
        "type": "object",
        "properties": {
            "schema": {
                "type": "object",
                "title": "JSON schema",
                "description": "It may refer to its own parts only; `format` is not checked.",
            },
            "allowFence": FENCED,
        },
        "required": ["schema"],
        "additionalProperties": False,
    }

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        problems = problems_of(config["schema"])
        return {"schema": problems} if problems else {}

    def evaluate(self, sample: Sample) -> Verdict:
        try:
            value = read(sample.output, fenced=self.config["allowFence"])
            problem = first_problem(self.config["schema"], value)
        except NotJson as error:
            return Verdict(0.0, str(error))
        except Unreadable as error:
            return Verdict(None, str(error))
        except (TooMuch, TooHeavy, RecursionError):
            return Verdict(None, "The answer or the schema is too large or too deep to be checked in time.")
        return Verdict.passed(not problem, problem)
