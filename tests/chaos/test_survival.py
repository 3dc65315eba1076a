"""Nothing is lost and nothing is recorded twice, whatever dies. `make chaos` does it ten times larger."""

from __future__ import annotations

import pytest

from tests.chaos import scenarios

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("servers")]


def test_workers_die_and_redis_is_wiped_in_a_thousand_cells(servers):
    report = scenarios.workers_die(*servers)
    assert report.figures.cells == 1_000
    assert report.figures.attempts["lost"] > 0  # the kills did hit cells in the air


def test_run_answers_while_redis_fails_and_the_batch_ends_soon_after_its_return(servers):
    # The promise is 3 s and 15 s, as `make chaos` has it; here other tests want the processors as well.
    scenarios.redis_fails(*servers, answer_within_s=4.5, end_within_s=25)


def test_a_cell_that_kills_its_worker_fails_after_three_crashes_and_takes_nobody_along(servers):
    scenarios.a_cell_kills(*servers)


def test_a_deploy_in_the_middle_loses_nothing_and_wastes_no_attempt(servers):
    scenarios.deploy(*servers)


@pytest.mark.skipif(not scenarios.libfaketime(), reason="needs libfaketime")
def test_workers_whose_clocks_are_hours_apart_record_nothing_twice(servers):
    scenarios.clock_is_off(*servers)
