"""Changes are added up once each, whoever adds them up, and whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from django.db import connection, connections, transaction

from evalsuite.metrics import families, folding
from evalsuite.metrics.changes import Changes
from evalsuite.metrics.models import Change, Total
from tests.metrics.reading import read, total

pytestmark = pytest.mark.django_db(transaction=True)
WAIT_S = 20


def count(by: int = 1, org: str = "one") -> None:
    changes = Changes()
    changes.count(families.ATTEMPTS_LOST, org, by=by)
    changes.save()


def lost(org: str = "one") -> float:
    return total(read(), "experiment_attempts_lost_total", orgId=org)


def test_changes_of_many_transactions_add_up_by_series():
    for number in range(1, 6):
        count(number)
    count(7, org="two")
    assert (lost(), lost("two")) == (15, 7)
    assert (lost(), lost("two")) == (15, 7)  # looking changes nothing
    count(1)
    assert lost() == 16
    assert not Change.objects.exists()


def test_what_is_rolled_back_was_never_counted():
    with transaction.atomic():
        count()
        transaction.set_rollback(True)
    assert lost() == 0


def test_histograms_keep_sum_and_buckets():
    changes = Changes()
    for milliseconds in (50, 50.5, 300_001):
        changes.observe(families.PLAYGROUND_LATENCY, milliseconds)
    changes.save()
    found = read()
    assert total(found, "playground_latency_ms_sum") == pytest.approx(300_101.5)
    assert total(found, "playground_latency_ms_count") == 3
    buckets = {labels["le"]: value for labels, value in found["playground_latency_ms_bucket"]}
    assert (buckets["50.0"], buckets["100.0"], buckets["300000.0"], buckets["+Inf"]) == (1, 2, 2, 3)


def test_names_of_models_may_hold_anything():
    changes = Changes()
    changes.count(families.MODEL_LOADS, "o", 'a "b"\\\nü')
    changes.save()
    [(labels, value)] = read()["provider_model_loads_total"]
    assert (labels["modelName"], value) == ('a "b"\\\nü', 1)


def test_wrong_labels_are_a_bug_at_once():
    with pytest.raises(AssertionError, match="orgId"):
        Changes().count(families.ATTEMPTS_LOST)


def test_many_fold_while_many_count():
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait(WAIT_S)
        for _ in range(25):
            if number % 2:
                count()
            else:
                folding.fold()
        connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert lost() == 100


CHILD = """
import django; django.setup()
from evalsuite.metrics import families, folding
from evalsuite.metrics.changes import Changes
while True:
    changes = Changes()
    changes.count(families.ATTEMPTS_LOST, "one")
    changes.save()
    print(1, flush=True)
    folding.fold()
"""


def test_killed_processes_count_exactly_what_they_committed():
    """Each line on stdout is a committed change; one more may have been committed and not told."""
    if connection.vendor == "sqlite":
        url = f"sqlite:///{connection.settings_dict['NAME']}"
    else:
        base = os.environ["TEST_DATABASE_URL"].rpartition("/")[0]
        url = f"{base}/{connection.settings_dict['NAME']}"
    env = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "evalsuite.settings"}
    told = 0
    for _ in range(2):
        children = [
            subprocess.Popen([sys.executable, "-c", CHILD], env=env, stdout=subprocess.PIPE) for _ in range(2)
        ]
        for child in children:
            assert child.stdout.readline()
        time.sleep(0.3)
        for child in children:
            child.send_signal(signal.SIGKILL)
            told += 1 + child.stdout.read().count(b"\n")
            child.wait(WAIT_S)
    assert told > 4
    assert told <= lost() <= told + 4
    assert Total.objects.count() == 1
