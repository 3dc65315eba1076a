"""Workers for tests of the engine: one inside this process, or real ones of their own on Redis."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager

import pytest
import redis
from celery import Celery
from django.db import connections
from django.utils import timezone

from evalsuite.env import ROOT
from experiments.models import Evaluator
from experiments.services import permits
from experiments.services.execution import stopping
from llm_routing import slots
from tests import factories

REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")


# A worker refuses to start with DEBUG.
AS_DEPLOYED = {
    "DEBUG": "0",
    "SECRET_KEY": "worker-worker-worker-worker-worker-worker-worker",
    "JWT_SIGNING_KEY": "another-another-another-another-another-another",
    "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(b"w" * 32).decode(),
}


@pytest.fixture(autouse=True)
def this_process_goes_on():
    """A worker that was stopped in it told this process to end."""
    yield
    stopping.clear()


@pytest.fixture
def redis_broker(settings, monkeypatch):
    """Publish to Redis, under a key prefix of this test's own."""
    try:
        redis.Redis.from_url(REDIS_URL).ping()
    except redis.RedisError:
        pytest.skip(f"no Redis at {REDIS_URL}")
    prefix = f"test-{uuid.uuid4().hex}:"
    publisher = Celery("publisher", broker=REDIS_URL, set_as_current=False)
    publisher.conf.broker_transport_options = {"global_keyprefix": prefix}
    monkeypatch.setattr(permits, "current_app", publisher)
    settings.REDIS_URL = REDIS_URL
    slots.store.cache_clear()
    yield prefix
    publisher.close()
    slots.store.cache_clear()


@contextmanager
def worker_process(prefix: str, *, pool: str = "threads", **env: str):
    """`celery worker` in a process of its own, on this test's database and on Redis."""
    database = connections["default"].settings_dict
    if "sqlite" in database["ENGINE"]:
        url = f"sqlite:///{database['NAME']}"
    else:
        at = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{at}/{database['NAME']}"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "evalsuite",
            "worker",
            f"--pool={pool}",
            "-c",
            "4",
            "-l",
            "WARNING",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            **AS_DEPLOYED,
            "DATABASE_URL": url,
            "BROKER_URL": REDIS_URL,
            "BROKER_KEY_PREFIX": prefix,
            "SWEEP_EVERY": "0.3",
            "CELL_LEASE": "3",
            **env,
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def wait_for(condition, *, timeout_s: float = 60.0):
    """Look again and again until the condition holds; its value is returned."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("did not happen in time")


@pytest.fixture
def experiment(org, ollama):
    """Ten inputs and two variants on a model of `ollama`."""
    factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=8))
    return factories.make_experiment(org, inputs=10, variants=2)


@pytest.fixture
def evaluator(org, experiment):
    metric = factories.make_metric(org)
    return Evaluator.objects.create(experiment=experiment, metric=metric, kind="exact_match", name="Exact")


@pytest.fixture
def run(experiment):
    """An answer in a batch that has ended."""
    run = factories.make_run(experiment)
    run.batch.finished_at = timezone.now()
    run.batch.save()
    return run


@pytest.fixture
def data_dir(settings, tmp_path):
    """For commands that work in this process, and are not to wait long for the sweeper."""
    settings.DATA_DIR = tmp_path
    settings.SWEEP_EVERY = 0.3
    return tmp_path
