"""A share of `make simulate`: intervals hold the truth, and equals are not called better.

The seeds are fixed. The tolerance is what chance does to a share of so many sets, 3.5 standard errors, so
that another order of draws would pass just as well.
"""

from __future__ import annotations

import math

import pytest

from benchmarks.simulation import simulate

SETS = {10: 300, 30: 300, 200: 80}


def error(share, sets):
    return 3.5 * math.sqrt(share * (1 - share) / sets)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("inputs", SETS)
def test_95_percent_intervals_and_false_verdicts(kind, inputs, repeats):
    sets = SETS[inputs]
    found = simulate(kind, inputs=inputs, repeats=repeats, sets=sets)
    for share in (found.one_side, found.paired):
        assert 0.93 - error(0.93, sets) <= share <= 0.97 + error(0.97, sets)
    assert found.better + found.worse <= 0.05 + error(0.05, sets)


def test_what_differs_is_found_the_more_inputs_there_are():
    few, many = (simulate("continuous", inputs=n, repeats=1, sets=60).power for n in (10, 100))
    assert few + 0.2 < many
