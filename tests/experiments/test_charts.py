"""Where the marks of a chart go."""

from __future__ import annotations

import pytest

from evalsuite.axes import make_axis
from experiments import charts


def test_an_axis_ends_at_round_numbers():
    axis = make_axis([0.13, 0.87])
    assert [tick.label for tick in axis.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert (axis.at(0.0), axis.at(1.0), axis.at(0.5)) == ("4.00%", "96.00%", "50.00%")


def test_long_numbers_stand_at_every_second_tick():
    assert [tick.label for tick in make_axis([0, 1_900]).labelled] == ["0", "1,000", "2,000"]
    axis = make_axis([0, 0.9])
    assert axis.labelled == axis.ticks


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-3.0], [1e-9, 2e-9], [0.0, 1e12], [-1e6, 1e6]])
def test_every_axis_holds_its_values(values):
    axis = make_axis(values)
    assert axis.low <= min(values) <= max(values) <= axis.high
    assert 2 <= len(axis.ticks) <= 8


def test_marks_without_a_value_have_no_place():
    chart = charts.whiskers(
        "Style", [charts.Figure("a", 2.0, 1.5, 2.5, 10), charts.Figure("b", None)], low=1, high=5
    )
    assert [mark.at is None for mark in chart.marks] == [False, True]
    assert (chart.axis.low, chart.axis.high) == (1, 5)
    assert charts.whiskers("Style", [charts.Figure("b", None)]) is None


def test_times_stand_one_after_the_other():
    parts = charts.stack([("queue", "Queue", 25), ("load", "Load", 0), ("decode", "Writing", 75)])
    assert [(part.key, part.begins, part.width) for part in parts] == [
        ("queue", "0.00%", "25.00%"),
        ("decode", "25.00%", "75.00%"),
    ]


def test_the_margin_is_a_band_around_nothing():
    line = charts.interval_line(0.5, 0.2, 0.8, 0.25)
    assert line.band_begins is not None
    assert charts.interval_line(0.5, 0.2, 0.8, 0.0).band_begins is None
    assert charts.interval_line(None, None, None, 0.1) is None
