from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.text import shown

# Thousands may be parted by commas, 30 times at most: a longer row would be tried again and again.
# It begins with one class of characters, which is what makes a long text without numbers quick.
NUMBER = re.compile(
    r"[\d.](?:(?<=\d)(?:\d{0,2}(?:,\d{3}){1,30}(?!,?\d)|\d*)(?:\.\d+)?|(?<=\.)(?<!\d\.)\d+)(?:[eE][-+]?\d{1,4})?",
    re.ASCII,
)
SIGNS = "-+\u2212"
LONGEST_NUMBER = 400  # characters


class NumericCloseness(Evaluator):
    """1 where the number in the answer is close enough to the expected one, else 0."""

    kind = "numeric"
    title = "Numeric closeness"
    description = "1 where a number in the answer is the expected number, within a tolerance, else 0."
    config_schema = {
        "type": "object",
        "properties": {
            "expected": {
                "type": "number",
                "title": "Expected number",
                "description": "Left empty, the number in the input's expected answer.",
            },
            "absolute": {
                "type": "number",
                "minimum": 0,
                "default": 1e-9,
                "title": "Absolute tolerance",
                "description": "A difference up to it does not matter.",
            },
            "relative": {
                "type": "number",
                "minimum": 0,
                "default": 0,
                "title": "Relative tolerance",
                "description": "0.01 is one percent of the expected number. The larger tolerance holds.",
            },
            "number": {
                "enum": ["last", "first", "whole"],
                "default": "last",
                "title": "Which number",
                "description": "The last or the first in the answer, or the whole answer is one.",
            },
        },
        "additionalProperties": False,
    }

    def evaluate(self, sample: Sample) -> Verdict:
        wanted = self._wanted(sample)
        if wanted is None:
            return Verdict(None, "There is no expected number: neither configured nor expected.")
        text = number_in(sample.output, self.config["number"])
        if text is None:
            return Verdict(0.0, "There is no number in the answer.")
        given = as_number(text)
        if given is None:
            return Verdict(0.0, f"No such number can be: {shown(text)}")
        allowed = max(self.config["absolute"], self.config["relative"] * abs(wanted))
        return Verdict.passed(abs(given - wanted) <= allowed, f"{given:g} instead of {wanted:g}.")

    def _wanted(self, sample: Sample) -> float | None:
        if "expected" in self.config:
            return float(self.config["expected"])
        text = number_in(sample.expected or "", "whole") or number_in(sample.expected or "", "last")
        return None if text is None else as_number(text)

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        huge = [name for name in ("expected", "absolute", "relative") if _is_huge(config.get(name, 0))]
        return {name: ["This number is too large."] for name in huge}


def _is_huge(number: float) -> bool:
    try:
        return not math.isfinite(float(number))
    except OverflowError:
        return True


def number_in(text: str, which: str) -> str | None:
    """The number that is asked for ("first", "last" or "whole"), as it is written."""
    if which == "whole":
        whole = text.strip()
        bare = whole.removeprefix(whole[:1]) if whole[:1] in tuple(SIGNS) else whole
        return whole if NUMBER.fullmatch(bare) else None
    if which == "first":
        number = NUMBER.search(text)
    else:
        number = next(iter(deque(NUMBER.finditer(text), maxlen=1)), None)
    return number and _sign_before(number) + number[0]


def _sign_before(number: re.Match[str]) -> str:
    """Between two numbers it is no sign, but a dash."""
    start, text = number.start(), number.string
    sign = text[start - 1 : start] if start else ""
    return sign if sign and sign in SIGNS and not text[max(0, start - 2) : start - 1].isdigit() else ""


def as_number(text: str) -> float | None:
    """None where it is longer or larger than a number can be."""
    if len(text) > LONGEST_NUMBER:
        return None
    value = float(text.replace(",", "").replace("\u2212", "-"))
    return value if math.isfinite(value) else None
