"""Where the marks of the usage charts go. Pure functions; templates draw them, tables have the figures.

Across, places are percentages of the drawing's width; upwards they are pixels of a fixed height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from evalsuite.axes import make_axis, percent
from evalsuite.quotas.reports import Usage

HEIGHT, TOP = 168, 16  # pixels of the plot, and the room above it for the highest label
MOST_COLUMNS = 62  # beyond which a column is a week
GAP = 0.22  # of a column's room
DATES_TOLD = 4


@dataclass(frozen=True, slots=True)
class Stack:
    """A piece of a column or a bar; `kind` is what its colour says."""

    kind: str
    at: str  # of a column its upper end in pixels, of a bar its left end in percent
    length: str


@dataclass(frozen=True, slots=True)
class Column:
    words: str
    begins: str
    width: str
    pieces: list[Stack]


@dataclass(frozen=True, slots=True)
class Level:
    """A line across the plot with what it stands for."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Columns:
    title: str
    kinds: list[str]
    columns: list[Column]
    levels: list[Level]
    dates: list[tuple[str, str]]  # place and label
    by_week: bool

    @property
    def height(self) -> int:
        return TOP + HEIGHT

    @property
    def base(self) -> int:
        return TOP + HEIGHT


def by_day(rows: Sequence[Usage], first: date, last: date) -> list[Columns]:
    """Tokens and calls of each day from first to last, or of each week where there are too many days.

    Empty for one day alone, and where nothing was used: there is nothing to compare.
    """
    days = (last - first).days + 1
    if days < 2 or not any(row.calls for row in rows):
        return []
    used = {row.key: row for row in rows}
    size = 1 if days <= MOST_COLUMNS else 7
    spans = [
        (max(first, end - timedelta(size - 1)), end)
        for end in (last - timedelta(size * n) for n in range(-(-days // size)))
    ]
    sums = [_sum(used, begin, end) for begin, end in reversed(spans)]
    labels = [_label(begin, end) for begin, end in reversed(spans)]
    tokens = [(row.input_tokens, row.output_tokens) for row in sums]
    calls = [(row.calls,) for row in sums]
    return [
        _columns("Tokens", ["in", "out"], labels, tokens, by_week=size > 1),
        _columns("Calls", ["calls"], labels, calls, by_week=size > 1),
    ]


def bars(rows: Sequence[Usage]) -> list[list[Stack]]:
    """For each row its tokens, in and out, against those of the row that has most."""
    most = max((row.input_tokens + row.output_tokens for row in rows), default=0)
    return [_bar(row, most) if most else [] for row in rows]


def _bar(row: Usage, most: int) -> list[Stack]:
    ends = 100 * row.input_tokens / most
    return [
        Stack("in", percent(0), percent(ends)),
        Stack("out", percent(ends), percent(100 * row.output_tokens / most)),
    ]


def _sum(used: dict[str | None, Usage], begin: date, end: date) -> Usage:
    days = [(begin + timedelta(n)).isoformat() for n in range((end - begin).days + 1)]
    rows = [used[day] for day in days if day in used]
    return Usage(
        None,
        "",
        sum(row.calls for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.output_tokens for row in rows),
    )


def _label(begin: date, end: date) -> str:
    return f"{begin:%-d %b}" if begin == end else f"{begin:%-d %b} to {end:%-d %b}"


def _columns(
    title: str, kinds: list[str], labels: list[str], values: Sequence[tuple[int, ...]], *, by_week: bool
) -> Columns:
    axis = make_axis([0, *(sum(one) for one in values)])
    room = 100 / len(values)
    columns = [
        Column(
            f"{label}: {', '.join(f'{value:,} {kind}' for kind, value in zip(kinds, one, strict=True))}",
            percent((number + GAP / 2) * room),
            percent((1 - GAP) * room),
            _pieces(kinds, one, axis.high),
        )
        for number, (label, one) in enumerate(zip(labels, values, strict=True))
    ]
    step = axis.high / max(1, len(axis.ticks) - 1)
    levels = [Level(_y(step * n, axis.high), tick.label) for n, tick in enumerate(axis.ticks)]
    told = sorted({round(n * (len(labels) - 1) / (DATES_TOLD - 1)) for n in range(DATES_TOLD)})
    dates = [(percent((n + 0.5) * room), labels[n].partition(" to ")[0]) for n in told]
    return Columns(title, kinds, columns, levels, dates, by_week)


def _pieces(kinds: list[str], values: tuple[int, ...], high: float) -> list[Stack]:
    """The first kind at the bottom."""
    pieces, below = [], 0
    for kind, value in zip(kinds, values, strict=True):
        upper, lower = _y(below + value, high), _y(below, high)
        if value:
            pieces.append(Stack(kind, f"{upper:.1f}", f"{max(lower - upper, 1):.1f}"))
        below += value
    return pieces


def _y(value: float, high: float) -> float:
    return round(TOP + HEIGHT * (1 - value / high), 1)
