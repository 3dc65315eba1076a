"""The values that a judge may give: numbers between bounds, or labels that stand for numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

MOST_STEPS = 100  # up to so many the values are told one by one, and nothing else can be answered
STEP_TOLERANCE = 1e-6  # of one step
SCALE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "title": "Scale",
    "description": "Numbers from a minimum to a maximum, or labels that stand for numbers.",
    "properties": {
        "minimum": {"type": "number", "title": "Minimum"},
        "maximum": {"type": "number", "title": "Maximum"},
        "step": {"type": "number", "exclusiveMinimum": 0, "title": "Step"},
        "labels": {
            "type": "object",
            "title": "Labels instead of numbers (optional)",
            "description": "One a line: label = value",
            "additionalProperties": {"type": "number"},
            "propertyNames": {"minLength": 1, "maxLength": 64},
            "minProperties": 2,
            "maxProperties": 50,
        },
    },
    "additionalProperties": False,
}


class OffScale(ValueError):
    """A value that the scale does not have."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Either labels with their values, or bounds with perhaps a step."""

    minimum: float = 0.0
    maximum: float = 1.0
    step: float | None = None
    labels: Mapping[str, float] | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a configuration without `problems`."""
        if labels := config.get("labels"):
            # By value: databases keep the keys of JSON in an order of their own.
            return cls(labels=dict(sorted(labels.items(), key=lambda item: (item[1], item[0]))))
        return cls(float(config["minimum"]), float(config["maximum"]), config.get("step"))

    @property
    def values(self) -> list[float] | None:
        """All numbers of a scale with few steps; None where it has more, or no steps."""
        if self.step is None:
            return None
        count = math.floor((self.maximum - self.minimum) / self.step + STEP_TOLERANCE)
        if count > MOST_STEPS:
            return None
        return [_plain(self.minimum + number * self.step) for number in range(count + 1)]

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of a score as the judge writes it."""
        if self.labels:
            return {"enum": list(self.labels)}
        if values := self.values:
            return {"enum": values}
        return {"type": "number", "minimum": _plain(self.minimum), "maximum": _plain(self.maximum)}

    @property
    def words(self) -> str:
        if self.labels:
            return "one of " + ", ".join(
                f'"{label}" (worth {value:g})' for label, value in self.labels.items()
            )
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"a number from {self.minimum:g} to {self.maximum:g}{step}"

    def value_of(self, score: Any) -> float:
        """The number that the judge's score stands for. Raises OffScale."""
        if self.labels:
            if not isinstance(score, str) or score not in self.labels:
                raise OffScale(f"The score {_shown(score)} is not {self.words}.")
            return self.labels[score]
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise OffScale(f"The score {_shown(score)} is no number.")
        if not self.minimum <= score <= self.maximum or not self._on_step(score):
            raise OffScale(f"The score {_shown(score)} is not {self.words}.")
        return float(score)

    def _on_step(self, score: float) -> bool:
        if self.step is None:
            return True
        steps = (score - self.minimum) / self.step
        return abs(steps - round(steps)) <= STEP_TOLERANCE


def problems(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong with a configured scale of the right types, by setting; empty where nothing is."""
    bounds = [config.get(name) for name in ("minimum", "maximum", "step")]
    labels = config.get("labels") or {}
    if not all(math.isfinite(number) for number in (*bounds, *labels.values()) if number is not None):
        return {"": ["The numbers of a scale must be finite."]}
    if labels and any(number is not None for number in bounds):
        return {"": ["Give labels, or a minimum and a maximum, not both."]}
    return _of_labels(labels) if labels else _of_bounds(*bounds)


def _of_labels(labels: Mapping[str, float]) -> dict[str, list[str]]:
    if len(set(labels.values())) > 1:
        return {}
    return {"labels": ["The labels must have at least two different values."]}


def _of_bounds(minimum: float | None, maximum: float | None, step: float | None) -> dict[str, list[str]]:
    if minimum is None or maximum is None:
        if minimum is maximum:
            return {"": ["A rubric needs a scale: a minimum and a maximum, or labels with their values."]}
        return {"minimum" if minimum is None else "maximum": ["A scale needs both of its ends."]}
    if minimum >= maximum:
        return {"maximum": [f"This must be above the minimum of {minimum:g}."]}
    if step is not None and step > maximum - minimum:
        return {"step": ["One step is longer than the whole scale."]}
    return {}


def _plain(number: float) -> float:
    """Whole numbers as such, and none of the dust of repeated sums: 0.30000000000000004 is 0.3."""
    rounded = round(number, 9)
    return int(rounded) if rounded == int(rounded) else rounded


def _shown(score: Any) -> str:
    text = repr(score)
    return text if len(text) <= 60 else f"{text[:60]}…"
