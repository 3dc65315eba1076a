"""A batch's progress as a stream, over a real web server, and by asking again and again."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest
import requests
from django.utils import timezone
from rest_framework_simplejwt.tokens import RefreshToken

from experiments.models import Batch
from experiments.services import planning, progress
from tests import factories
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stream(site, org, alice):
    """The events of a batch until its stream ends: (event, id, data)."""

    def read(batch, **headers):
        response = requests.get(
            f"{site.url}/api/v1/orgs/{org.pk}/experiments/batches/{batch.pk}/events",
            headers={
                "Authorization": f"Bearer {RefreshToken.for_user(alice).access_token}",
                "Accept": "text/event-stream",
                **headers,
            },
            stream=True,
            timeout=30,
        )
        assert response.status_code == 200
        facts = {}
        for line in response.iter_lines(decode_unicode=True):
            name, _, value = line.partition(": ")
            if name:
                facts[name] = value
            elif "data" in facts:
                yield facts["event"], facts["id"], json.loads(facts["data"])
                facts = {}

    return read


@pytest.fixture
def batch(org, alice):
    """120 cells that nobody works on."""
    factories.set_default_model(org, factories.make_model())
    experiment = factories.make_experiment(org, inputs=120, variants=1)
    return planning.start_batch(experiment=experiment, author=alice)


def close(cells, *, seconds_ago=2.0):
    at = timezone.now() - timedelta(seconds=seconds_ago)
    return cells.update(state="succeeded", finished_at=at, latency_ms=7)


def finish(batch):
    Batch.objects.filter(pk=batch.pk).update(state="finished", finished_at=timezone.now())


def test_progress_is_streamed_until_the_batch_has_ended(stream, embedded_worker, org, alice):
    with ObedientOllama(delay_s=0.15) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=2))
        experiment = factories.make_experiment(org, inputs=30, variants=1)
        batch = planning.start_batch(experiment=experiment, author=alice)
        events = list(stream(batch, **{"Last-Event-ID": "0"}))
    seen = [data for _, _, data in events]
    assert len(seen) >= 2
    assert [name for name, _, _ in events] == ["progress"] * (len(events) - 1) + ["finished"]
    assert seen[-1]["state"] == "finished"
    assert seen[-1]["counts"]["succeeded"] == seen[-1]["total"] == 30
    counts = [one["counts"]["succeeded"] for one in seen]
    assert counts == sorted(counts)
    told = [cell["runId"] for one in seen for cell in one["closed"]]
    assert sorted(told) == sorted(str(pk) for pk in batch.runs.values_list("pk", flat=True))
    assert max(one["throughput"] for one in seen) > 5


def test_all_cells_of_a_batch_come_in_parts_of_fifty(stream, batch):
    close(batch.runs.all())
    finish(batch)
    events = list(stream(batch, **{"Last-Event-ID": "0"}))
    assert [len(data["closed"]) for _, _, data in events] == [50, 50, 20]
    assert [name for name, _, _ in events] == ["progress", "progress", "finished"]
    cell = events[0][2]["closed"][0]
    assert cell.keys() == {"runId", "variantId", "inputKey", "repeat", "state", "latencyMs"}
    assert (cell["state"], cell["latencyMs"]) == ("succeeded", 7)


def test_wherever_a_client_comes_back_nothing_is_lost_or_told_twice(stream, batch):
    for number in range(12):
        part = batch.runs.order_by("id")[number * 10 : number * 10 + 10]
        close(batch.runs.filter(pk__in=[run.pk for run in part]), seconds_ago=20 - number)
    finish(batch)
    whole = [
        cell["runId"] for _, _, data in stream(batch, **{"Last-Event-ID": "0"}) for cell in data["closed"]
    ]
    assert len(set(whole)) == len(whole) == 120
    for _, cursor, data in stream(batch, **{"Last-Event-ID": "0"}):
        rest = [
            cell["runId"]
            for _, _, more in stream(batch, **{"Last-Event-ID": cursor})
            for cell in more["closed"]
        ]
        assert rest == whole[whole.index(data["closed"][-1]["runId"]) + 1 :]


def test_an_ended_batch_answers_once_and_ends(stream, batch):
    close(batch.runs.all())
    finish(batch)
    ((name, _, data),) = stream(batch)
    assert (name, data["closed"], data["etaSeconds"]) == ("finished", [], None)


def test_many_streams_share_the_looks_at_one_batch(stream, batch, monkeypatch):
    looks = []
    real = progress.look
    monkeypatch.setattr(progress, "look", lambda batch_id: looks.append(time.monotonic()) or real(batch_id))
    ended = []

    def listen():
        ended.append([name for name, _, _ in stream(batch)][-1])

    threads = [threading.Thread(target=listen) for _ in range(20)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    while time.monotonic() - begin < 3:
        time.sleep(0.1)
    close(batch.runs.all())
    finish(batch)
    for thread in threads:
        thread.join(20)
    assert ended == ["finished"] * 20
    assert len(looks) <= (time.monotonic() - begin) / 0.5 + 3


def test_the_same_by_asking_again(api, org, batch):
    address = f"/api/v1/orgs/{org.pk}/experiments/batches/{batch.pk}/progress"
    now = api.get(address).json()
    assert (now["counts"]["queued"], now["closed"], now["etaSeconds"]) == (120, [], None)
    close(batch.runs.all())
    told, cursor = [], now["cursor"]
    while part := (answer := api.get(address, {"after": cursor}).json())["closed"]:
        assert len(part) <= 50
        told += [cell["runId"] for cell in part]
        cursor = answer["cursor"]
    assert len(set(told)) == len(told) == 120
    assert answer["throughput"] > 0


def test_a_slow_batch_s_speed_is_that_of_the_last_minute(api, org, batch):
    Batch.objects.filter(pk=batch.pk).update(started_at=timezone.now() - timedelta(minutes=5))
    close(batch.runs.filter(pk__in=[run.pk for run in batch.runs.all()[:6]]), seconds_ago=20)
    now = api.get(f"/api/v1/orgs/{org.pk}/experiments/batches/{batch.pk}/progress").json()
    assert (now["throughput"], now["etaSeconds"]) == (0.1, 1140)


def test_a_cell_is_told_once_its_moment_has_settled(api, org, batch):
    address = f"/api/v1/orgs/{org.pk}/experiments/batches/{batch.pk}/progress"
    close(batch.runs.all(), seconds_ago=0)
    assert api.get(address, {"after": "0"}).json()["closed"] == []
    finish(batch)
    assert len(api.get(address, {"after": "0"}).json()["closed"]) == 50


@pytest.mark.parametrize("cursor", ["x", "1-2", "-", "99999999999999999999999-" + "0" * 32])
def test_what_is_no_cursor_is_400(api, org, batch, cursor):
    address = f"/api/v1/orgs/{org.pk}/experiments/batches/{batch.pk}"
    assert api.get(f"{address}/progress", {"after": cursor}).status_code == 400
    assert api.get(f"{address}/events", headers={"last-event-id": cursor}).status_code == 400
