"""A limit is exact, however many threads and processes run against it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connections

from evalsuite.quotas import ledger
from evalsuite.quotas.models import UsageCounter, UsageRecord
from evalsuite.quotas.services import limits_of, release, reserve, settle, take_playground
from tests.quotas.helpers import assert_books_balance, calls, limit, used
from tests.quotas.storm import storm

# One after the other: a PostgreSQL as it comes has a hundred connections.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("many connections")]
ROOT = Path(__file__).resolve().parent.parent.parent


def assert_exactly(granted, count, org):
    attempts = {attempt.int for attempt in UsageRecord.objects.values_list("attempt", flat=True)}
    assert attempts == set(granted)
    assert len(granted) == count
    counter = UsageCounter.objects.get(org=org)
    assert (counter.calls, counter.tokens, counter.reserved_calls) == (count, count, 0)
    assert_books_balance(org)


def test_64_threads_5760_calls_each_offered_twice_and_exactly_2000_granted(org):
    limit(org, tokens_per_month=2_000)
    granted = storm(org, first=1, count=5_760, threads=64, group=9)
    assert_exactly(granted, 2_000, org)


def test_two_processes_offer_the_same_calls(org, tmp_path):
    limit(org, tokens_per_day=500, tokens_per_month=10_000)
    arguments = [str(org.pk), "1", "1440", "8", "7"]
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "evalsuite.settings",
    }
    command = [sys.executable, "-m", "tests.quotas.storm", *arguments]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert_exactly({number for answer in answers for number in json.loads(answer)}, 500, org)


def database_url() -> str:
    database = connections["default"].settings_dict
    if "sqlite" in database["ENGINE"]:
        return f"sqlite:///{database['NAME']}"
    at = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
    return f"postgres://{database['USER']}:{database['PASSWORD']}@{at}/{database['NAME']}"


def test_reserving_settling_and_releasing_the_same_calls_at_once_keeps_the_books(org):
    """Whatever the order, nobody deadlocks, and the counters are what the ledger says."""
    limit(org, tokens_per_day=100_000)
    limits = limits_of(org)
    offered = calls(60)

    def work(seed):
        chance = random.Random(seed)
        try:
            for _ in range(12):
                some = chance.sample(offered, 8)
                step = chance.randrange(3)
                if step == 0:
                    reserve(org, some, limits=limits)
                elif step == 1:
                    settle(org, [used(call) for call in some[:4]], released=[c.attempt for c in some[4:]])
                else:
                    release([call.attempt for call in some])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert_books_balance(org)


def test_64_requests_of_one_user_at_once_take_what_the_minute_has(org, monkeypatch):
    limit(org, playground_per_minute=10)
    limits, moment = limits_of(org), ledger.now()
    monkeypatch.setattr(ledger, "now", lambda: moment)  # the minute must not turn

    def ask(_):
        try:
            return take_playground(org, UUID(int=5), limits=limits) is None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(ask, range(64))) == 10
