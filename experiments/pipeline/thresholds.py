"""Conditions such as `correctness < 0.8`: if one holds for a variant, the run has failed."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evalsuite.errors import EvalsuiteError
from experiments.services.results import VariantResult

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
FIGURE = re.compile(r"\s*([^\s<>=!]+)")
COMPARED = re.compile(r"\s*(<=|>=|<|>)(?![<>=])")
NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?=\s|$)", re.ASCII)

# What every variant has, beside its metrics.
OF_EVERY_VARIANT: Mapping[str, Callable[[VariantResult], float | None]] = {
    "thumbs": lambda found: found.thumbs.rate,
    "latency": lambda found: found.latency.mean,
    "latency.p50": lambda found: found.latency.p50,
    "latency.p95": lambda found: found.latency.p95,
    "tokens": lambda found: found.tokens.output_mean,
}


class BadExpression(EvalsuiteError):
    """Names the place: the first character has position 1."""

    code, status = "BAD_EXPRESSION", 400

    def __init__(self, text: str, at: int, why: str) -> None:
        super().__init__(f"{text!r}, position {at + 1}: {why}", position=at + 1)


@dataclass(frozen=True, slots=True)
class Threshold:
    figure: str  # the key of a metric, or one of OF_EVERY_VARIANT
    operator: str
    limit: float

    def __str__(self) -> str:
        return f"{self.figure} {self.operator} {self.limit:g}"

    def is_met_by(self, value: float) -> bool:
        return OPERATORS[self.operator](value, self.limit)

    def value_of(self, found: VariantResult) -> float | None:
        """None where the variant has no such figure: a missing score is missing, never 0."""
        for metric in found.metrics:
            if metric.metric.key == self.figure:
                return metric.mean
        return OF_EVERY_VARIANT.get(self.figure, _nothing)(found)


def _nothing(_found: VariantResult) -> None:
    return None


def parse(text: str) -> Threshold:
    """Raises BadExpression."""
    figure = _expect(FIGURE, text, 0, "here must be the key of a metric")
    compared = _expect(COMPARED, text, figure.end(), "here must be <, <=, > or >=")
    number = _expect(NUMBER, text, compared.end(), "here must be a number, such as 0.8")
    rest = text[number.end() :]
    if rest.strip():
        raise BadExpression(text, _start(text, number.end()), "nothing may come after the number")
    limit = float(number[1])
    if not math.isfinite(limit):
        raise BadExpression(text, number.start(1), "this number is too large")
    return Threshold(figure[1], compared[1], limit)


def _expect(pattern: re.Pattern[str], text: str, at: int, why: str) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is None:
        raise BadExpression(text, _start(text, at), why)
    return found


def _start(text: str, at: int) -> int:
    """Where the next word begins."""
    return at + len(text[at:]) - len(text[at:].lstrip())
