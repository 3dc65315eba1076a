"""Statistics over plain numbers: intervals, paired tests, verdicts. No database in here.

The unit is the input. Cells of one input are alike, so its repeats and raters are averaged first, and
what is computed over are these means (cluster means): they are independent, every input weighs the same
however often it was run, and the small-sample methods below hold for them as they stand. docs/statistics.md
says why each method was taken; `make simulate` shows that they keep what they promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np

LEVEL = 0.95
ALPHA = 1 - LEVEL
POWER = 0.8
_z = NormalDist().inv_cdf
Z = _z(1 - ALPHA / 2)
LEAST_PAIRS = 6  # the exact tests of fewer cannot reach p <= 0.05: 2 / 2**5 is 0.0625
ALL_SIGNS_UP_TO = 20  # differences that are not zero: every way of giving them signs is tried
RESAMPLES = 4_999  # otherwise so many, drawn from a fixed seed: the same data always get the same p
SEED = 20_240_117
EIGHT_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1
TIED = 1e-9  # relative: sums that differ by less differ by rounding alone
MOST_INPUTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies with 95 % confidence. None: too little is known to say."""

    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True, slots=True)
class Moments:
    """Of `n` numbers: mean, standard deviation (over n - 1) and skewness (None where n < 2, or no spread)."""

    n: int
    mean: float
    sd: float | None
    skewness: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Moments:
        """Raises ValueError for no numbers at all, NaN and infinity."""
        x = _finite(values)
        if not len(x):
            raise ValueError("There are no numbers.")
        d = x - x.mean()
        return cls.of_sums(len(x), float(x.mean()), float((d**2).sum()), float((d**3).sum()))

    @classmethod
    def of_sums(cls, n: int, mean: float, squares: float, cubes: float) -> Moments:
        """From the sums of squared and cubed distances to the mean, as a database adds them up."""
        if n < 2:
            return cls(n, mean, None, None)
        sd = math.sqrt(squares / (n - 1))
        if sd <= TIED * abs(mean) or not sd:
            return cls(n, mean, 0.0, None)
        return cls(n, mean, sd, cubes / n / sd**3)


@dataclass(frozen=True, slots=True)
class Tested:
    p_value: float
    method: str


class Verdict(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"
    SAME = "same"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class PairedResult:
    """What n pairs tell. `difference` is second - first; None where they are too few to tell."""

    n: int
    first_mean: float | None
    second_mean: float | None
    difference: float | None
    interval: Interval
    positive: int
    negative: int
    zero: int
    p_value: float | None
    method: str
    effect_size: float | None
    effect_name: str


def _finite(values: Sequence[float]) -> Any:
    x = np.asarray(values, dtype=float)
    if not np.isfinite(x).all():
        raise ValueError("These numbers are not all finite.")
    return x


# --- one side ---------------------------------------------------------------------------------------


def wilson(successes: int, n: int) -> Interval:
    """Of a share: score interval (Wilson 1927)."""
    if not 0 <= successes <= n:
        raise ValueError("There are as many successes as trials at most.")
    if not n:
        return Interval(None, None, "Wilson")
    return _wilson(successes / n, n, "Wilson")


def clustered_wilson(rate: Moments, cells: int) -> Interval:
    """Of a share over inputs with repeats: `rate` is of the shares of the inputs, `cells` all trials.

    Wilson's interval for as many independent trials as would tell as much as these: what the spread
    between inputs says, taken down for the few inputs that told it (Korn and Graubard 1998), and never
    more than there were.
    """
    method = "Wilson, clustered by input"
    if rate.sd is None:
        return Interval(None, None, method)
    variance = rate.sd**2 / rate.n
    trials = float(rate.n)  # no spread: one answer to an input says what all of them say
    if variance:
        few = (Z / _t(rate.n)) ** 2
        trials = min((rate.mean * (1 - rate.mean) + variance) / variance * few, cells)
    return _wilson(rate.mean, trials, method)


def _wilson(rate: float, n: float, method: str) -> Interval:
    centre = rate + Z**2 / (2 * n)
    half = Z * math.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    low = 0.0 if rate <= 0 else (centre - half) / scale
    high = 1.0 if rate >= 1 else (centre + half) / scale
    return Interval(low, high, method)


def mean_interval(found: Moments, *, bounds: tuple[float, float] | None = None) -> Interval:
    """Of a mean: Student's t, corrected for skewness by Hall's transformation (1992).

    The correction is what a studentised bootstrap estimates, without its chance. `bounds` are those of
    the scale: where all numbers are equal they alone say how far off the next one may be.
    """
    method = "t, corrected for skewness"
    if found.sd is None:
        return Interval(None, None, method)
    if not found.sd:
        return _without_spread(found.mean, found.n, bounds)
    t, error = _t(found.n), found.sd / math.sqrt(found.n)
    low, high = (found.mean - _hall(point, found) * error for point in (t, -t))
    return _within(Interval(low, high, method), bounds)


def _hall(t: float, found: Moments) -> float:
    """The point of the studentised mean that t stands for, where the numbers are skewed."""
    a = (found.skewness or 0.0) / (3 * math.sqrt(found.n))
    if abs(a) < 1e-7:  # the limit of the formula below, whose terms would cancel out
        return t
    return float((np.cbrt(1 + 3 * a * (t - a / 2)) - 1) / a)


def _without_spread(value: float, n: int, bounds: tuple[float, float] | None) -> Interval:
    """All n numbers are `value`. Up to a share u of all inputs may still give the farthest there are."""
    method = "exact bound on what was never seen"
    if bounds is None or bounds[0] >= bounds[1]:
        return Interval(None, None, method)
    u = 1 - (ALPHA / 2) ** (1 / n)
    low, high = min(bounds[0], value), max(bounds[1], value)
    return Interval(value - u * (value - low), value + u * (high - value), method)


def _within(interval: Interval, bounds: tuple[float, float] | None) -> Interval:
    if bounds is None or interval.low is None or interval.high is None:
        return interval
    return Interval(max(interval.low, bounds[0]), min(interval.high, bounds[1]), interval.method)


def _t(n: int) -> float:
    return float(_special().stdtrit(n - 1, 1 - ALPHA / 2))


def _special() -> Any:
    """A fifth of the time in which a process begins: most compute nothing with it."""
    from scipy import special

    return special


# --- two sides, pair by pair --------------------------------------------------------------------------


def compare_pairs(
    first: Sequence[float],
    second: Sequence[float],
    *,
    rate: bool = False,
    bounds: tuple[float, float] | None = None,
) -> PairedResult:
    """Each pair is one input. `rate`: the values are shares, from single answers of 0 or 1.

    `bounds` are those of the scale, where it has any. Raises ValueError for NaN and infinity.
    """
    a, b = _finite(first), _finite(second)
    if len(a) != len(b):
        raise ValueError("Each number needs its partner.")
    d = b - a
    d[np.abs(d) <= TIED * (np.abs(a) + np.abs(b))] = 0.0
    single = rate and bool(np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all())
    positive, negative = int((d > 0).sum()), int((d < 0).sum())
    tested = mcnemar(positive, negative) if single else sign_flip(d)
    if single:
        interval = paired_rate_interval(positive, negative, len(d))
    else:
        interval = paired_mean_interval(d, reach=_reach(a, b, (0.0, 1.0) if rate else bounds))
    n = len(d)
    means = (float(a.mean()), float(b.mean())) if n else None
    if rate:
        effect, effect_name = means and cohens_h(*means), "Cohen's h"
    else:
        effect, effect_name = cohens_dz(d), "Cohen's dz"
    return PairedResult(
        n=n,
        first_mean=means and means[0],
        second_mean=means and means[1],
        difference=float(d.mean()) if n else None,
        interval=interval,
        positive=positive,
        negative=negative,
        zero=n - positive - negative,
        p_value=tested.p_value if n else None,
        method=tested.method,
        effect_size=effect,
        effect_name=effect_name,
    )


def _reach(a: Any, b: Any, bounds: tuple[float, float] | None) -> float:
    """How far apart the two values of an input can be: by the scale, else by what was seen."""
    if bounds is not None:
        return bounds[1] - bounds[0]
    return float(max(a.max(), b.max()) - min(a.min(), b.min())) if len(a) else 0.0


def mcnemar(positive: int, negative: int) -> Tested:
    """Exact, two-sided: the sign test of the pairs that differ."""
    return Tested(sign_test(positive, negative), "exact McNemar test")


def sign_test(positive: int, negative: int) -> float:
    """The exact two-sided p-value; ties are left out."""
    n = positive + negative
    return min(1.0, 2 * float(_special().bdtr(min(positive, negative), n, 0.5))) if n else 1.0


def sign_flip(differences: Sequence[float]) -> Tested:
    """Permutation test of pairs, two-sided: had the sides been swapped by chance, how often would the
    mean be as far from zero as it is?
    """
    d = _finite(differences)
    moved = np.abs(d[d != 0])
    seen = abs(d.sum()) * (1 - TIED)
    if len(moved) <= ALL_SIGNS_UP_TO:
        return Tested(float((np.abs(_all_sums(moved)) >= seen).mean()), "exact paired permutation test")
    as_far = int((np.abs(_drawn_sums(moved)) >= seen).sum())
    return Tested((1 + as_far) / (1 + RESAMPLES), f"paired permutation test, {RESAMPLES:,} resamples")


def _all_sums(moved: Any) -> Any:
    """Under every choice of signs; one sign stays, since the other half mirrors these."""
    sums = moved[:1] if len(moved) else np.zeros(1)
    for step in moved[1:]:
        sums = np.concatenate([sums + step, sums - step])
    return sums


def _drawn_sums(moved: Any) -> Any:
    """The same under RESAMPLES draws of signs."""
    draw = np.random.default_rng(SEED)
    sizes, counts = np.unique(moved, return_counts=True)
    if len(sizes) * 64 <= len(moved):  # many are equal, and drawn together: how many are up is binomial
        ups = draw.binomial(counts, 0.5, size=(RESAMPLES, len(sizes)))
        return (2 * ups - counts) @ sizes
    # A drawn byte has the signs of eight numbers: their 256 possible sums are worked out once.
    eights = np.pad(moved, (0, -len(moved) % 8)).reshape(-1, 8)
    sums = np.zeros(RESAMPLES)
    for possible in eights @ EIGHT_SIGNS.T:
        sums += possible[np.frombuffer(draw.bytes(RESAMPLES), np.uint8)]
    return sums


def paired_rate_interval(positive: int, negative: int, n: int) -> Interval:
    """Of the difference of two shares over the same n inputs (Agresti and Min 2005).

    Wald's interval after half a pair is added to each of the four kinds: few pairs that differ, or none,
    are then no proof that there is no difference.
    """
    method = "Wald with Agresti-Min adjustment"
    if not n:
        return Interval(None, None, method)
    up, down = (positive + 0.5) / (n + 2), (negative + 0.5) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return _within(Interval(up - down - half, up - down + half, method), (-1.0, 1.0))


def paired_mean_interval(differences: Sequence[float], *, reach: float) -> Interval:
    """Student's t over the differences. `reach` is how far apart the values of one input can be."""
    d = _finite(differences)
    if len(d) < 2:
        return Interval(None, None, "paired t")
    found = Moments.of(d)
    if not found.sd:
        return _without_spread(found.mean, found.n, (-reach, reach))
    half = _t(found.n) * found.sd / math.sqrt(found.n)
    return Interval(found.mean - half, found.mean + half, "paired t")


# --- how big, and what it means -----------------------------------------------------------------------


def cohens_dz(differences: Sequence[float]) -> float | None:
    """Mean difference in standard deviations of the differences. None where these do not spread."""
    found = Moments.of(differences) if len(differences) else None
    return found.mean / found.sd if found and found.sd else None


def cohens_h(first: float, second: float) -> float:
    """The distance of two shares on the arcsine scale; 0.2 is small, 0.5 medium, 0.8 large."""
    return 2 * (math.asin(math.sqrt(second)) - math.asin(math.sqrt(first)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def verdict(interval: Interval, p_value: float | None, *, margin: float, pairs: int) -> Verdict:
    """What interval and exact test say together; where they disagree, or say too little, it is UNSURE.

    HIGHER and LOWER: the interval lies beyond the margin as a whole, and the test agrees that there is a
    difference. SAME: it lies within the margin as a whole (which a margin of 0 leaves no room for).
    """
    low, high = interval.low, interval.high
    if low is None or high is None or p_value is None or pairs < LEAST_PAIRS:
        return Verdict.UNSURE
    if margin and -margin <= low and high <= margin:
        return Verdict.SAME
    if p_value <= ALPHA and low > margin:
        return Verdict.HIGHER
    if p_value <= ALPHA and high < -margin:
        return Verdict.LOWER
    return Verdict.UNSURE


def inputs_needed(found: PairedResult, *, margin: float, comparisons: int = 1) -> int | None:
    """About so many more inputs would settle it, if they differ as those seen do; two digits of it count.

    Enough for a power of 80 % to see on which side of the margin the difference lies. None: nothing
    is known of the spread, or the difference lies so close to the margin that a million would not do.
    """
    low, high = found.interval.low, found.interval.high
    if found.difference is None or low is None or high is None:
        return None
    gap = abs(abs(found.difference) - margin)
    spread = (high - low) / 2 / (_t(found.n) if found.n > 1 else Z) * math.sqrt(found.n)
    if not gap or spread / gap > MOST_INPUTS:
        return None
    strict = _z(1 - ALPHA / comparisons / 2) + _z(POWER)
    total = max((strict * spread / gap) ** 2, LEAST_PAIRS)
    return _about(total - found.n) if total <= MOST_INPUTS else None


def _about(number: float) -> int:
    """Rounded up to two digits, at least 1."""
    unit: int = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return max(1, math.ceil(number / unit) * unit)
