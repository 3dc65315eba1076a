"""Where the marks of a chart go. Pure functions; templates draw them as SVG in the roles of the CSS.

Places are percentages of the drawing's width, as text: so a chart is as wide as its place on the page,
and its words stay as large as all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
        return percent(_place(value, self.low, self.high))

    def place(self, value: float | None) -> str | None:
        return None if value is None else self.at(value)


@dataclass(frozen=True, slots=True)
class Mark:
    """A mean with its 95 % interval; places are None where there is no value."""

    label: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    at: str | None
    begins: str | None
    ends: str | None


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    note: str
    axis: Axis
    marks: list[Mark]
    unit: str
    is_interval: bool  # where the truth lies; else a range of what was measured


@dataclass(frozen=True, slots=True)
class Figure:
    """What a chart is made of."""

    label: str
    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


def whiskers(
    title: str,
    figures: Sequence[Figure],
    *,
    note: str = "",
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    is_interval: bool = True,
) -> Chart | None:
    """Means as points, intervals as whiskers. `low` and `high` are the ends of the scale where it has some.

    None where there is no value at all.
    """
    values = [value for one in figures for value in (one.mean, one.low, one.high) if value is not None]
    if not values:
        return None
    axis = make_axis([*values, *(end for end in (low, high) if end is not None)])
    marks = [
        Mark(
            one.label,
            one.mean,
            one.low,
            one.high,
            one.n,
            axis.place(one.mean),
            axis.place(one.low),
            axis.place(one.high),
        )
        for one in figures
    ]
    return Chart(title, note, axis, marks, unit, is_interval)


def make_axis(values: Iterable[float]) -> Axis:
    """From the least to the greatest of the values, at round numbers."""
    values = list(values)
    low, high = min(values), max(values)
    if low == high:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    step = _round_step((high - low) / WANTED_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    low, high = first * step, last * step
    ticks = [Tick(percent(_place(n * step, low, high)), _label(n * step)) for n in range(first, last + 1)]
    return Axis(low, high, ticks)


def _round_step(raw: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * (1 - 1e-9))


def _label(value: float) -> str:
    text = f"{value:,.10g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return "0" if text in ("-0", "0") else text.replace("-", "\N{MINUS SIGN}")


def span(axis: Axis, low: float, high: float) -> tuple[str, str]:
    """Where a stretch begins, and how wide it is."""
    begins, ends = (_place(value, axis.low, axis.high) for value in (low, high))
    return percent(begins), percent(ends - begins)


def _place(value: float, low: float, high: float) -> float:
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return PADDING + share * (100 - 2 * PADDING)


def percent(value: float) -> str:
    return f"{value:.2f}%"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of time: where it begins in the bar and how wide it is."""

    key: str
    label: str
    ms: float
    begins: str
    width: str


@dataclass(frozen=True, slots=True)
class Times:
    """Where the time of a call went. `facts` are figures that are no part of the sum."""

    parts: list[Part]
    total_ms: float
    facts: list[tuple[str, float]]


PARTS = [
    ("queue", "Waited in our queue", "queue_ms"),
    ("wait", "Waited at the provider", "provider_wait_ms"),
    ("load", "Loading the model", "load_ms"),
    ("prompt", "Reading the prompt", "prompt_ms"),
    ("decode", "Writing the answer", "decode_ms"),
]


def times_of(run: Any) -> Times:
    """Of a run. What its parts leave of its latency was spent on the way."""
    lengths = [(key, label, float(getattr(run, name) or 0)) for key, label, name in PARTS]
    told = sum(ms for key, _, ms in lengths if key != "queue")
    lengths.append(("rest", "On the way, and not told", max(0.0, (run.latency_ms or 0) - told)))
    facts = [
        ("First token after", run.first_token_ms),
        ("Latency in all", run.latency_ms),
        ("The original took", run.cached_latency_ms if run.is_cached else None),
    ]
    return Times(
        stack(lengths), sum(ms for _, _, ms in lengths), [(name, ms) for name, ms in facts if ms is not None]
    )


def stack(lengths: Iterable[tuple[str, str, float]]) -> list[Part]:
    """One after the other over the whole width; what has no length is left out."""
    lengths = [one for one in lengths if one[2] > 0]
    total = sum(ms for _, _, ms in lengths)
    parts, begun = [], 0.0
    for key, label, ms in lengths:
        parts.append(Part(key, label, ms, percent(100 * begun / total), percent(100 * ms / total)))
        begun += ms
    return parts


@dataclass(frozen=True, slots=True)
class Line:
    """The difference and its interval on a line, with the band of what does not matter."""

    axis: Axis
    zero: str
    at: str
    begins: str
    ends: str
    width: str
    band_begins: str | None
    band_width: str | None


def interval_line(
    difference: float | None, low: float | None, high: float | None, margin: float
) -> Line | None:
    if difference is None or low is None or high is None:
        return None
    axis = make_axis([0.0, difference, low, high, -margin, margin])
    band_begins, band_width = span(axis, -margin, margin) if margin else (None, None)
    begins, width = span(axis, low, high)
    return Line(
        axis=axis,
        zero=axis.at(0.0),
        at=axis.at(difference),
        begins=begins,
        ends=axis.at(high),
        width=width,
        band_begins=band_begins,
        band_width=band_width,
    )
