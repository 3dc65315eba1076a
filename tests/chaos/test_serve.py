"""The whole product in one process, killed in the middle: what SQLite holds is enough to go on."""

from __future__ import annotations

import pytest

from tests.chaos import scenarios

pytestmark = pytest.mark.timeout(400)


def test_the_serve_process_dies_twice_in_two_hundred_cells():
    report = scenarios.serve_dies(cells=200, kills=2)
    assert report.figures.cells == 200
    assert report.figures.attempts["lost"] > 0
