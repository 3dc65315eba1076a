"""Columns by day and bars: where their marks go, and that they add up to what the table says."""

from __future__ import annotations

from datetime import date, timedelta

from evalsuite.quotas import charts
from evalsuite.quotas.reports import LimitInUse, Usage

LAST = date(2026, 3, 31)


def used(day, calls, tokens_in, tokens_out):
    return Usage(day.isoformat(), "", calls, tokens_in, tokens_out)


def test_each_day_has_its_column_also_without_use():
    rows = [used(LAST, 2, 300, 100), used(LAST - timedelta(2), 1, 50, 0)]
    tokens, calls = charts.by_day(rows, LAST - timedelta(6), LAST)
    assert [len(column.pieces) for column in tokens.columns] == [0, 0, 0, 0, 1, 0, 2]
    assert tokens.columns[-1].words == "31 Mar: 300 in, 100 out"
    below, above = tokens.columns[-1].pieces
    assert float(above.at) + float(above.length) == float(below.at)
    assert float(below.at) + float(below.length) == tokens.base
    assert [level.label for level in calls.levels] == ["0", "0.5", "1", "1.5", "2"]
    assert (calls.levels[0].y, calls.levels[-1].y) == (calls.base, charts.TOP)
    assert [label for _, label in tokens.dates] == ["25 Mar", "27 Mar", "29 Mar", "31 Mar"]


def test_a_year_has_a_column_for_each_week_and_loses_nothing():
    first = LAST - timedelta(364)
    rows = [used(first + timedelta(n), 1, n, 1) for n in range(365)]
    tokens, calls = charts.by_day(rows, first, LAST)
    assert (tokens.by_week, len(tokens.columns)) == (True, 53)
    counted = sum(int(column.words.rpartition(": ")[2].split()[0]) for column in calls.columns)
    assert counted == 365


def test_one_day_and_no_use_are_no_chart():
    assert charts.by_day([used(LAST, 1, 1, 1)], LAST, LAST) == []
    assert charts.by_day([], LAST - timedelta(6), LAST) == []


def test_bars_are_long_against_the_longest():
    rows = [used(LAST, 1, 300, 100), used(LAST, 1, 0, 200), used(LAST, 3, 0, 0)]
    assert [[piece.length for piece in bar] for bar in charts.bars(rows)] == [
        ["75.00%", "25.00%"], ["0.00%", "50.00%"], ["0.00%", "0.00%"],
    ]  # fmt: skip
    assert charts.bars([used(LAST, 1, 0, 0)]) == [[]]


def test_a_limit_is_near_before_it_is_over():
    marks = []
    for spent in (79, 80, 99, 100, 250):
        limit = LimitInUse("tokensPerDay", 100, spent, None)
        marks.append((limit.is_near, limit.is_over))
    assert marks == [(False, False), (True, False), (True, False), (True, True), (True, True)]
    assert not LimitInUse("tokensPerDay", None, 5, None).is_near
