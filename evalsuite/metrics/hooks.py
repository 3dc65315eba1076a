"""What apps above tell us: which experiments have labels of their own, and what is to be seen now.

Filled by their `ready()`, since the ground imports no app above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from evalsuite.metrics.families import OTHER, Family

Labels = tuple[str, ...]
Sample = tuple[Family, Labels, float]


@dataclass(frozen=True, slots=True)
class Window:
    """Experiments and variants that have labels of their own, by id as text."""

    experiments: frozenset[str] = frozenset()
    variants: Mapping[str, Labels] = field(default_factory=dict)  # org, experiment and variant, by variant

    def shown(self, labels: Labels) -> Labels:
        """The labels (org, experiment, variant) under which a cell is counted."""
        org, experiment, variant = labels
        if experiment not in self.experiments:
            return org, OTHER, OTHER
        return org, experiment, variant if variant in self.variants else OTHER


@dataclass(frozen=True, slots=True)
class Slow:
    """Figures that are computed aside. `subjects`: for which; `always`: they are stale at once."""

    subjects: Callable[[Window], Iterable[str]]
    compute: Callable[[str], Iterable[Sample]]
    always: bool = False


_windows: list[Callable[[], Window]] = []
_gauges: dict[str, Callable[[], Iterable[Sample]]] = {}
_slow: dict[str, Slow] = {}


def register_window(window: Callable[[], Window]) -> None:
    _windows[:] = [window]


def register_gauges(name: str, gauges: Callable[[], Iterable[Sample]]) -> None:
    """`gauges` costs a few cheap queries. A counter's sample of 0 only says that the series is there."""
    _gauges[name] = gauges


def register_slow(name: str, slow: Slow) -> None:
    """Its subjects are `name`, or begin with `name:`."""
    _slow[name] = slow


def window() -> Window:
    return _windows[0]() if _windows else Window()


def gauges() -> Mapping[str, Callable[[], Iterable[Sample]]]:
    return _gauges


def slow() -> Mapping[str, Slow]:
    return _slow
