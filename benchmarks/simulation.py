"""Do the statistics keep what they promise? Data sets whose truth is known, thousands for each setting.

Run: .venv/bin/python -m benchmarks.simulation [--sets 2000] [--kinds binary continuous] [--inputs 10 30]

Each set is an experiment: inputs that are easier and harder, two variants on the same inputs, repeats.
`binary` are answers that are right or wrong, of rates that are drawn anew for each set; `binary 0.5`, `0.8`
and `0.9` have one rate, so that the few results that ten inputs can have are not smoothed over.
`continuous` are normal, `skewed` lognormal like latencies.

  one side    how often the 95 % interval of one variant holds the truth, in %
  paired      how often that of the difference of two does
  A/A better  how often a variant was called better than its equal; A/A worse: likewise
  power       how often the better of two that differ was called better, the worse one worse
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments import statistics
from experiments.statistics import Interval, Moments, Verdict, compare_pairs, verdict

SEED = 7
EASIER = 1.5  # spread of the difficulty of inputs, on the scale of log odds
RATES = 1.2  # and of the rates of experiments, where these are drawn
EFFECT = 0.7  # and of what the other variant makes of it
LOG_SPREAD = 0.5  # of the skewed: of their logarithm
FIXED = {"binary 0.5": 0.5, "binary 0.8": 0.8, "binary 0.9": 0.9}
KINDS = ("binary", "continuous", "skewed", *FIXED)
HEAD = "kind        repeats  inputs    sets  one side  paired  A/A better  A/A worse  power"

# For the mean over all inputs, whose difficulty is normal: Gauss and Hermite's points and weights.
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of the sets."""

    one_side: float
    paired: float
    better: float
    worse: float
    power: float


@dataclass(frozen=True, slots=True)
class Side:
    """What one variant truly is worth, and what was seen of it: inputs x repeats."""

    truth: float
    cells: Any

    @property
    def means(self) -> Any:
        return self.cells.mean(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=2_000)
    parser.add_argument("--inputs", type=int, nargs="+", default=[10, 30, 200])
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    given = parser.parse_args()
    print(HEAD)
    for kind in given.kinds:
        for repeats in given.repeats:
            for inputs in given.inputs:
                found = simulate(kind, inputs=inputs, repeats=repeats, sets=given.sets)
                print(row(kind, repeats, inputs, given.sets, found), flush=True)


def row(kind: str, repeats: int, inputs: int, sets: int, found: Outcome) -> str:
    return (
        f"{kind:10}  {repeats:7}  {inputs:6}  {sets:6}  {found.one_side:8.1%}  {found.paired:6.1%}"
        f"  {found.better:10.1%}  {found.worse:9.1%}  {found.power:5.1%}"
    )


def simulate(kind: str, *, inputs: int, repeats: int, sets: int) -> Outcome:
    rows = [
        (holds_one, holds_both, equal == Verdict.HIGHER, equal == Verdict.LOWER, right)
        for holds_one, holds_both, equal, right in _sets(kind, inputs, repeats, sets)
    ]
    return Outcome(*np.mean(rows, axis=0).tolist())


def _sets(kind: str, inputs: int, repeats: int, sets: int) -> Iterator[tuple[bool, bool, Verdict, bool]]:
    rate = kind.startswith("binary")
    draw = np.random.default_rng([SEED, inputs, repeats, KINDS.index(kind)])
    for _ in range(sets):
        first, twin, other = _experiment(kind, draw, inputs, repeats)
        found = compare_pairs(first.means, other.means, rate=rate)
        gap = other.truth - first.truth
        says = verdict(found.interval, found.p_value, margin=0.0, pairs=inputs)
        yield (
            _holds(_interval(first, rate=rate), first.truth),
            _holds(found.interval, gap),
            _judge(first, twin, rate=rate),
            says == (Verdict.HIGHER if gap > 0 else Verdict.LOWER),
        )


def _judge(first: Side, second: Side, *, rate: bool) -> Verdict:
    found = compare_pairs(first.means, second.means, rate=rate)
    return verdict(found.interval, found.p_value, margin=0.0, pairs=found.n)


def _interval(side: Side, *, rate: bool) -> Interval:
    if not rate:
        return statistics.mean_interval(Moments.of(side.means))
    if side.cells.shape[1] == 1:
        return statistics.wilson(int(side.cells.sum()), side.cells.size)
    return statistics.clustered_wilson(Moments.of(side.means), side.cells.size)


def _holds(interval: Interval, truth: float) -> bool:
    """No interval is no answer: it does not hold."""
    if interval.low is None or interval.high is None:
        return False
    return interval.low <= truth <= interval.high


def _experiment(kind: str, draw: Any, inputs: int, repeats: int) -> tuple[Side, Side, Side]:
    """A variant, its equal, and one that differs, all on the same inputs."""
    hard = draw.normal(size=(inputs, 1))
    effect = draw.normal(0, EFFECT)
    if kind in ("continuous", "skewed"):
        return tuple(_numbers(kind, draw, hard, repeats, shift) for shift in (0.0, 0.0, effect))  # type: ignore[return-value]
    odds = _odds_of(FIXED[kind]) if kind in FIXED else draw.normal(0, RATES)
    return tuple(_answers(draw, hard, repeats, odds + shift) for shift in (0.0, 0.0, effect))  # type: ignore[return-value]


def _numbers(kind: str, draw: Any, hard: Any, repeats: int, shift: float) -> Side:
    """Half of their spread is between inputs, half between the answers to one."""
    noise = draw.normal(size=(len(hard), repeats))
    standard = (hard + noise) / math.sqrt(2)
    if kind == "continuous":
        return Side(shift, standard + shift)
    truth = math.exp(LOG_SPREAD * shift + LOG_SPREAD**2 / 2)
    return Side(truth, np.exp(LOG_SPREAD * (standard + shift)))


def _answers(draw: Any, hard: Any, repeats: int, odds: float) -> Side:
    right = draw.random(size=(len(hard), repeats)) < _share(odds + EASIER * hard)
    return Side(_rate(odds), right.astype(float))


def _share(odds: Any) -> Any:
    return 1 / (1 + np.exp(-odds))


def _rate(odds: float) -> float:
    """The share of right answers over all inputs that there might be."""
    return float((WEIGHTS * _share(odds + EASIER * POINTS)).sum() / WEIGHTS.sum())


def _odds_of(rate: float) -> float:
    """The odds that have this rate: by halving."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _rate(middle) < rate else (low, middle)
    return low


if __name__ == "__main__":
    main()
