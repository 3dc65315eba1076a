"""Every figure against another source: published values, scipy's own methods, exact arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import stats

from experiments import statistics
from experiments.statistics import Interval, Moments, PairedResult, Verdict, compare_pairs

getcontext().prec = 40
CLOSE = {"rel": 1e-9, "abs": 1e-12}
Z = Decimal("1.95996398454005423552459443052055")  # the normal's 97.5 % point, from tables
T = {  # Student's 97.5 % points by degrees of freedom, from tables
    4: Decimal("2.776445105197793"),
    14: Decimal("2.144786687916928"),
}
# Heights of cross- and self-fertilised maize (Darwin 1876), in eighths of an inch; Fisher (1935) worked
# the permutation test of their differences out by hand.
CROSSED = [188, 96, 168, 176, 153, 172, 177, 163, 146, 173, 186, 168, 177, 184, 96]
SELFED = [139, 163, 160, 160, 147, 149, 149, 122, 132, 144, 130, 144, 102, 124, 144]
SKEWED = [1.0, 1.0, 2.0, 3.0, 13.0]


def close(value):
    return pytest.approx(float(value), **CLOSE)


# --- one side ---


@pytest.mark.parametrize(("successes", "n"), [(15, 20), (0, 10), (10, 10), (1, 7), (523, 1000), (1, 1)])
def test_wilson_is_that_of_scipy_and_of_exact_arithmetic(successes, n):
    found = statistics.wilson(successes, n)
    other = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == (close(other.low), close(other.high))
    p, n = Decimal(successes) / n, Decimal(n)
    root = Z * (p * (1 - p) / n + Z**2 / (4 * n**2)).sqrt()
    low, high = ((p + Z**2 / (2 * n) + side * root) / (1 + Z**2 / n) for side in (-1, 1))
    assert (found.low, found.high) == (close(low), close(high))


def test_wilson_of_nothing_is_no_interval():
    assert statistics.wilson(0, 0) == Interval(None, None, "Wilson")
    with pytest.raises(ValueError, match="successes"):
        statistics.wilson(3, 2)


def test_without_skewness_the_interval_of_a_mean_is_student_s():
    values = [1.0, 2.0, 4.0, 6.0, 7.0]
    found = statistics.mean_interval(Moments.of(values))
    other = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == (close(other.low), close(other.high))


def test_with_skewness_it_is_hall_s_by_exact_arithmetic():
    x = [Decimal(str(value)) for value in SKEWED]
    n, mean = len(x), sum(x) / len(x)
    sd = (sum((one - mean) ** 2 for one in x) / (n - 1)).sqrt()
    skewness = sum((one - mean) ** 3 for one in x) / n / sd**3
    a = skewness / (3 * Decimal(n).sqrt())

    def point(t):
        cubed = 1 + 3 * a * (t - a / 2)
        return (abs(cubed) ** (1 / Decimal(3)) * (1 if cubed > 0 else -1) - 1) / a

    low, high = (mean - point(t) * sd / Decimal(n).sqrt() for t in (T[4], -T[4]))
    found = statistics.mean_interval(Moments.of(SKEWED))
    assert (found.low, found.high) == (close(low), close(high))
    assert found.high - 4 > 4 - found.low, "the long tail of the numbers is above"


def test_moments_are_those_of_numpy_and_scipy_also_from_sums():
    found = Moments.of(SKEWED)
    assert (found.n, found.mean, found.sd) == (5, close(4.0), close(np.std(SKEWED, ddof=1)))
    assert found.skewness == close(stats.skew(SKEWED) * (4 / 5) ** 1.5)
    d = [value - 4.0 for value in SKEWED]
    assert Moments.of_sums(5, 4.0, sum(x**2 for x in d), sum(x**3 for x in d)) == found


def test_one_number_has_no_interval_and_equal_ones_only_with_a_scale():
    assert statistics.mean_interval(Moments.of([3.0])).low is None
    equal = Moments.of([0.1 + 0.2, 0.3, 0.3])
    assert statistics.mean_interval(equal).low is None
    found = statistics.mean_interval(Moments.of([5.0] * 10), bounds=(1.0, 5.0))
    share = 1 - 0.025 ** (1 / 10)  # the exact (Clopper-Pearson) bound for 0 of 10
    assert share == close(stats.binomtest(0, 10).proportion_ci(method="exact").high)
    assert (found.low, found.high) == (close(5 - share * 4), 5.0)


def test_a_mean_stays_on_its_scale():
    found = statistics.mean_interval(Moments.of([5.0, 5.0, 5.0, 5.0, 4.0]), bounds=(1.0, 5.0))
    assert found.high == 5.0


def test_the_clustered_share_by_exact_arithmetic():
    """Four inputs, three repeats each: 1, 1/3, 2/3 and 1 of them good."""
    found = statistics.clustered_wilson(Moments.of([1, 1 / 3, 2 / 3, 1]), cells=12)
    p = Decimal(3) / 4
    shares = [Decimal(1), Decimal(1) / 3, Decimal(2) / 3, Decimal(1)]
    variance = sum((share - p) ** 2 for share in shares) / 3 / 4
    few = (Z / Decimal("3.182446305284263")) ** 2
    n = (p * (1 - p) + variance) / variance * few
    assert n < 12
    root = Z * (p * (1 - p) / n + Z**2 / (4 * n**2)).sqrt()
    low, high = ((p + Z**2 / (2 * n) + side * root) / (1 + Z**2 / n) for side in (-1, 1))
    assert (found.low, found.high) == (close(low), close(high))


def test_repeats_that_agree_count_no_more_than_one_each():
    found = statistics.clustered_wilson(Moments.of([1.0] * 10), cells=200)
    assert (found.low, found.high) == (statistics.wilson(10, 10).low, 1.0)


def test_repeats_that_tell_nothing_of_inputs_count_one_by_one_at_most():
    found = statistics.clustered_wilson(Moments.of([0.5] * 5 + [0.5 + 1e-6] * 5), cells=40)
    assert (found.low, found.high) == pytest.approx(
        (statistics.wilson(20, 40).low, statistics.wilson(20, 40).high), abs=1e-6
    )


# --- two sides ---


def test_fisher_s_permutation_test_of_darwin_s_maize():
    found = compare_pairs(SELFED, CROSSED)
    assert found.p_value == close(Fraction(2 * 863, 2**15))
    assert found.method == "exact paired permutation test"
    assert (found.positive, found.negative, found.zero) == (13, 2, 0)


def test_the_paired_t_interval_of_darwin_s_maize():
    found = compare_pairs(SELFED, CROSSED)
    other = stats.ttest_rel(CROSSED, SELFED).confidence_interval()
    assert (found.interval.low, found.interval.high) == (close(other.low), close(other.high))
    d = [Decimal(a - b) for a, b in zip(CROSSED, SELFED, strict=True)]
    mean = sum(d) / 15
    sd = (sum((one - mean) ** 2 for one in d) / 14).sqrt()
    assert found.interval.low == close(mean - T[14] * sd / Decimal(15).sqrt())
    assert found.effect_size == close(mean / sd)
    assert found.effect_name == "Cohen's dz"


@pytest.mark.parametrize("differences", [[1, 2, 3, -1], [0, 0, 4, -2.5, 1], [2] * 6, [0, 0], [-3]])
def test_all_signs_are_tried_as_scipy_tries_them(differences):
    found = statistics.sign_flip(differences).p_value
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    as_far = sum(abs(one) >= abs(sum(differences)) - 1e-12 for one in sums)
    assert found == close(Fraction(as_far, len(sums)))
    if len(differences) > 1:
        other = stats.permutation_test(
            (np.array(differences, float),), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        assert found == close(other.pvalue)


def test_ties_of_rounding_are_ties():
    """0.1 + 0.2 and 0.3 are the same sum: six of eight ways are as far as the one that was seen."""
    assert statistics.sign_flip([0.1, 0.2, -0.3]).p_value == 1.0
    assert compare_pairs([0.3], [0.1 + 0.2]).zero == 1


@pytest.mark.parametrize("kind", ["distinct", "few values"])
def test_drawn_signs_come_close_to_all_signs(kind, monkeypatch):
    draw = np.random.default_rng(5)
    d = draw.normal(0.5, 1, 18) if kind == "distinct" else draw.choice([-1.0, 1.0, 2.0], 18)
    exact = statistics.sign_flip(d)
    monkeypatch.setattr(statistics, "ALL_SIGNS_UP_TO", 5)
    drawn = statistics.sign_flip(d)
    assert drawn.method == "paired permutation test, 4,999 resamples"
    assert drawn.p_value == statistics.sign_flip(d).p_value, "the same data get the same p"
    error = math.sqrt(exact.p_value * (1 - exact.p_value) / 4_999)
    assert 0 < exact.p_value < 0.5
    assert abs(drawn.p_value - exact.p_value) < 5 * error + 1e-4


@pytest.mark.parametrize(("positive", "negative"), [(150, 86), (9, 1), (0, 6), (5, 5), (0, 0), (1, 0)])
def test_mcnemar_is_the_exact_binomial_test(positive, negative):
    n = positive + negative
    tail = sum(math.comb(n, k) for k in range(min(positive, negative) + 1))
    exact = min(Fraction(1), Fraction(2 * tail, 2**n))
    assert statistics.mcnemar(positive, negative).p_value == close(exact)
    if n:
        assert statistics.sign_test(positive, negative) == close(stats.binomtest(positive, n).pvalue)


def test_shares_on_the_same_inputs():
    """Approval of the prime minister, asked twice (Agresti): 794 twice yes, 150 and 86 changed, 570 no."""
    first = [1] * 794 + [1] * 150 + [0] * 86 + [0] * 570
    second = [1] * 794 + [0] * 150 + [1] * 86 + [0] * 570
    found = compare_pairs(first, second, rate=True)
    assert (found.positive, found.negative, found.zero) == (86, 150, 1364)
    assert found.method == "exact McNemar test"
    assert found.p_value == close(stats.binomtest(86, 236).pvalue)
    up, down, n = Decimal("86.5") / 1602, Decimal("150.5") / 1602, Decimal(1602)
    half = Z * ((up + down - (up - down) ** 2) / n).sqrt()
    assert (found.interval.low, found.interval.high) == (close(up - down - half), close(up - down + half))
    assert found.difference == close(Fraction(86 - 150, 1600))
    assert found.effect_name == "Cohen's h"
    assert found.effect_size == close(2 * math.asin(math.sqrt(0.55)) - 2 * math.asin(math.sqrt(0.59)))


def test_shares_over_repeats_are_compared_as_means():
    found = compare_pairs([0, 1 / 3, 1, 2 / 3], [1 / 3, 1, 1, 2 / 3], rate=True)
    assert (found.method, found.interval.method) == ("exact paired permutation test", "paired t")
    assert found.effect_name == "Cohen's h"


def test_no_pairs_and_one_pair():
    nothing = compare_pairs([], [])
    assert (nothing.n, nothing.difference, nothing.p_value, nothing.effect_size) == (0, None, None, None)
    assert (nothing.interval.low, nothing.first_mean) == (None, None)
    assert compare_pairs([], [], rate=True).interval.low is None
    one = compare_pairs([1.0], [3.0])
    assert (one.difference, one.p_value, one.interval.low) == (2.0, 1.0, None)


def test_all_ties_are_no_proof_of_equality():
    ties = compare_pairs([0, 1, 1] * 4, [0, 1, 1] * 4, rate=True)
    assert (ties.p_value, ties.zero) == (1.0, 12)
    assert ties.interval.low < 0 < ties.interval.high
    scores = compare_pairs([3.0, 4.0] * 5, [3.0, 4.0] * 5, bounds=(1.0, 5.0))
    share = 1 - 0.025 ** (1 / 10)
    assert (scores.interval.low, scores.interval.high) == (close(-4 * share), close(4 * share))
    assert scores.effect_size is None
    unknown = compare_pairs([5.0] * 10, [5.0] * 10)
    assert unknown.interval.low is None, "nothing tells how far apart two of these can be"


def test_the_same_difference_everywhere():
    found = compare_pairs([4.0] * 10, [5.0] * 10)
    assert found.p_value == close(Fraction(2, 2**10))
    assert 0 < found.interval.low < found.interval.high == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        compare_pairs([1.0, bad], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        Moments.of([bad])
    with pytest.raises(ValueError, match="partner"):
        compare_pairs([1.0], [])
    with pytest.raises(ValueError, match="no numbers"):
        Moments.of([])


# --- what it means ---


def test_holm_is_that_of_r():
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")"""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], **CLOSE)
    assert statistics.holm([0.7, 0.6]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize(
    ("low", "high", "p", "margin", "pairs", "expected"),
    [
        (0.1, 0.3, 0.01, 0.0, 30, Verdict.HIGHER),
        (-0.3, -0.1, 0.01, 0.0, 30, Verdict.LOWER),
        (0.1, 0.3, 0.06, 0.0, 30, Verdict.UNSURE),  # the exact test does not agree
        (-0.1, 0.3, 0.01, 0.0, 30, Verdict.UNSURE),
        (0.1, 0.3, 0.01, 0.2, 30, Verdict.UNSURE),  # there is a difference; whether it matters is open
        (0.25, 0.3, 0.01, 0.2, 30, Verdict.HIGHER),
        (-0.3, -0.25, 0.01, 0.2, 30, Verdict.LOWER),
        (0.1, 0.2, 0.001, 0.2, 30, Verdict.SAME),  # sure, and too small to matter
        (0.0, 0.0, 1.0, 0.0, 30, Verdict.UNSURE),  # without a margin every difference matters
        (-0.1, 0.1, 0.9, 0.2, 5, Verdict.UNSURE),
        (None, None, None, 0.2, 1, Verdict.UNSURE),
    ],
)
def test_the_verdict_is_that_on_which_interval_and_test_agree(low, high, p, margin, pairs, expected):
    assert statistics.verdict(Interval(low, high, ""), p, margin=margin, pairs=pairs) == expected


def paired(n, mean, sd):
    """The result of n pairs whose differences have this mean and this deviation."""
    half = stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n)
    interval = Interval(mean - half, mean + half, "paired t")
    return PairedResult(n, 0, mean, mean, interval, 0, 0, 0, 0.5, "", None, "")


def test_inputs_needed_is_the_usual_sample_size():
    """For dz = 0.3, two-sided 5 %, power 80 %: (1.96 + 0.8416)^2 / 0.09 = 87.2 (Lachin; R's power.t.test
    has 89 with t in the place of the normal)."""
    assert statistics.inputs_needed(paired(30, 0.3, 1.0), margin=0) == 58
    needed = ((float(Z) + 0.8416212335729143) / 0.3) ** 2 - 30
    assert math.ceil(needed) == 58


@pytest.mark.parametrize(
    ("found", "margin", "expected"),
    [
        (paired(30, 0.0, 1.0), 0.0, None),  # no difference and no margin: nothing would settle it
        (paired(30, 0.2, 1.0), 0.2, None),
        (paired(30, 1e-5, 1.0), 0.0, None),
        (paired(30, 0.0, 1.0), 0.3, 58),  # that it lies within the margin
        (paired(3, 5.0, 0.1), 0.0, 3),  # no fewer than six can settle anything
        (paired(30, 0.01, 1.0), 0.0, 79_000),
        (compare_pairs([1], [2]), 0.0, None),
    ],
)
def test_inputs_needed_at_the_edges(found, margin, expected):
    assert statistics.inputs_needed(found, margin=margin) == expected


def test_more_comparisons_need_more_inputs():
    found = paired(30, 0.3, 1.0)
    assert statistics.inputs_needed(found, margin=0, comparisons=5) > statistics.inputs_needed(
        found, margin=0
    )
