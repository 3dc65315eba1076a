"""Axes at round numbers, and where things lie on them: the ground of all charts. Pure functions.

Places are percentages of the drawing's width, as text: so a chart is as wide as its place on the page,
and its words stay as large as all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

PADDING = 4.0  # percent at both ends, so that a mark at the end is whole
WANTED_TICKS = 4
LONGEST_CLOSE_LABEL = 4  # characters that a narrow chart has room for at each tick


@dataclass(frozen=True, slots=True)
class Tick:
    at: str
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    low: float
    high: float
    ticks: list[Tick]

    @property
    def labelled(self) -> list[Tick]:
        """Every second tick where the labels are so long that neighbours would touch."""
        is_tight = any(len(tick.label) > LONGEST_CLOSE_LABEL for tick in self.ticks)
        return self.ticks[:: 2 if is_tight else 1]

    def at(self, value: float) -> str:
        return percent(place_of(value, self.low, self.high))

    def place(self, value: float | None) -> str | None:
        return None if value is None else self.at(value)


def make_axis(values: Iterable[float]) -> Axis:
    """From the least to the greatest of the values, at round numbers."""
    values = list(values)
    low, high = min(values), max(values)
    if low == high:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    step = _round_step((high - low) / WANTED_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    low, high = first * step, last * step
    ticks = [Tick(percent(place_of(n * step, low, high)), _label(n * step)) for n in range(first, last + 1)]
    return Axis(low, high, ticks)


def _round_step(raw: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * (1 - 1e-9))


def _label(value: float) -> str:
    text = f"{value:,.10g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return "0" if text in ("-0", "0") else text.replace("-", "\N{MINUS SIGN}")


def span(axis: Axis, low: float, high: float) -> tuple[str, str]:
    """Where a stretch begins, and how wide it is."""
    begins, ends = (place_of(value, axis.low, axis.high) for value in (low, high))
    return percent(begins), percent(ends - begins)


def place_of(value: float, low: float, high: float) -> float:
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return PADDING + share * (100 - 2 * PADDING)


def percent(value: float) -> str:
    return f"{value:.2f}%"
