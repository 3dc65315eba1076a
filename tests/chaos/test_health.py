"""Ready turns red while nobody works, says why, and turns green by itself."""

from __future__ import annotations

import time

import pytest
import requests

from tests.chaos.installation import LEASE_S, SWEEP_S
from tests.chaos.parts import until
from tests.chaos.scenarios import Scene

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("servers")]
# What is 40 s with the usual lease and sweeps, plus the time for a look; the promise is 60 s.
RED_WITHIN_S = LEASE_S + 5 * SWEEP_S + 5


def ready(made):
    answer = requests.get(f"{made.url}/readyz", timeout=5)
    return answer.status_code, answer.json()


def test_ready_turns_red_while_no_worker_claims_and_green_by_itself(servers):
    made, provider = servers
    with Scene(made, provider, "ready", delay_s=0.2) as scene:
        assert ready(made) == (200, {"ok": True})
        worker = scene.add_worker(concurrency=1)
        batch = scene.run(scene.prompts(40), parallel=2)
        scene.until_share(batch, 0.1)
        assert ready(made)[0] == 200
        worker.freeze()
        begin = time.monotonic()
        until(lambda: ready(made)[0] == 503, "red", timeout_s=2 * RED_WITHIN_S)
        assert time.monotonic() - begin < RED_WITHIN_S
        assert ready(made)[1]["ok"] is False
        assert "cells wait" in ready(made)[1]["workers"]
        worker.thaw()
        until(lambda: ready(made) == (200, {"ok": True}), "green again", timeout_s=60)
        scene.until_finished(batch)
        assert ready(made)[0] == 200


def test_ready_names_a_redis_and_a_database_that_do_not_answer(servers):
    made, _ = servers
    made.redis.freeze()
    assert ready(made) == (503, {"ok": False, "redis": "does not answer"})
    made.redis.thaw()
    until(lambda: ready(made)[0] == 200, "green again", timeout_s=60)
    made.postgres.crash()
    assert ready(made) == (503, {"ok": False, "database": "does not answer"})
    made.postgres.start()
    until(lambda: ready(made)[0] == 200, "green again", timeout_s=60)
