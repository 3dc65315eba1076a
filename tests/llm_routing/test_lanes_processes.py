"""Slots over several processes: the peak, a killed holder, a Redis that is wiped with calls in the air."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import pytest
import redis
from django.db import connections

from evalsuite.env import ROOT
from evalsuite.ids import new_id
from llm_routing import slots
from llm_routing.gate_stores import Gates, RedisGates
from llm_routing.gates import Door
from tests import factories
from tests.fakes.loading_ollama import LoadingOllama
from tests.llm_routing.conftest import REDIS_URL

pytestmark = pytest.mark.django_db(transaction=True)


def database_url():
    database = connections["default"].settings_dict
    if "sqlite" in database["ENGINE"]:
        return f"sqlite:///{database['NAME']}"
    at = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
    return f"postgres://{database['USER']}:{database['PASSWORD']}@{at}/{database['NAME']}"


@pytest.fixture(params=["database", "redis"])
def redis_url(request):
    """Where the processes keep their gates; empty: in the database."""
    if request.param == "database":
        return ""
    try:
        redis.Redis.from_url(REDIS_URL).ping()
    except redis.RedisError:
        pytest.skip(f"no Redis at {REDIS_URL}")
    return REDIS_URL


@pytest.fixture
def start_at():
    """Start a process with crews at work, that says "done" at the end."""
    processes = []

    def begin(redis_url, model, **order):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.llm_routing.crews"],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "evalsuite.settings",
                "DATABASE_URL": database_url(),
                "REDIS_URL": redis_url,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        process.stdin.write(json.dumps({"model": str(model.pk), **order}) + "\n")
        process.stdin.flush()
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def start(start_at, redis_url):
    return partial(start_at, redis_url)


def test_peak_never_above_the_slots_over_processes(start):
    with LoadingOllama(call_s=0.02) as server:
        model = factories.make_model(base_url=server.base_url, slots=4)
        running = [start(model, name=f"p{n}", crews=16, prompts=4, calls=4) for n in range(4)]
        for process in running:
            assert process.stdout.read() == "ready\ndone\n"
        assert server.peak == 4
        assert sum(server.calls.values()) == 4 * 16 * 4


def test_slots_of_a_killed_process_come_back_after_their_lease(start):
    lease_s = 2.0
    with LoadingOllama(call_s=0.05) as server:
        model = factories.make_model(base_url=server.base_url, slots=4)
        doomed = start(model, name="doomed", crews=1, prompts=5000, calls=4, lease_s=lease_s)
        while len(server.served) < 8:
            time.sleep(0.01)
        heir = start(model, name="heir", crews=1, prompts=8, calls=4, lease_s=lease_s)
        assert heir.stdout.readline() == "ready\n"
        os.kill(doomed.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        assert heir.stdout.readline() == "done\n"
        first = min(one.came for one in server.served if one.prompt.startswith("heir"))
        assert first - killed_at < lease_s + 1.5  # and a poll, on a busy machine
        assert server.peak <= 4


@pytest.fixture
def own_redis(tmp_path):
    """A Redis of this test's own, to be hurt."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            break
        except redis.RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    yield f"redis://127.0.0.1:{port}/0", client
    process.kill()
    process.wait()


def test_the_peak_holds_while_redis_is_wiped_again_and_again(own_redis, start_at):
    url, client = own_redis
    hurry = {"renew_s": 0.2, "grace_s": 1.5}
    with LoadingOllama(call_s=0.4) as server:
        model = factories.make_model(base_url=server.base_url, slots=3)
        running = [start_at(url, model, name=f"p{n}", crews=2, prompts=8, calls=3, **hurry) for n in range(2)]
        for served in (3, 12):
            while len(server.served) < served or server.now < 2:
                time.sleep(0.01)
            client.flushall()
        for process in running:
            assert process.stdout.read() == "ready\ndone\n"
        assert server.peak == 3
        assert sum(server.calls.values()) == 32


def test_a_new_redis_lets_calls_in_at_once_and_a_wiped_one_waits(own_redis, monkeypatch):
    url, client = own_redis
    endpoint = new_id()
    first = Gates(RedisGates(url))
    monkeypatch.setattr(slots, "store", lambda: first)
    mine = slots.take([Door(endpoint, 2)], 1)
    assert len(mine) == 1
    client.flushall()
    # Another process, which never saw the Redis of before.
    other = Gates(RedisGates(url))
    monkeypatch.setattr(slots, "store", lambda: other)
    assert slots.take([Door(endpoint, 2)], 2) == []
    deadline = time.monotonic() + 2
    while not other.store.load([endpoint]).texts[endpoint]:
        assert time.monotonic() < deadline, "the holder did not say that it is still there"
        time.sleep(0.02)
    slots.release(mine)
