"""Where the marks of a chart go. Pure functions; templates draw them as SVG in the roles of the CSS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.axes import Axis, make_axis, percent, span


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
