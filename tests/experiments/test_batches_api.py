"""Pressing Run, and what can be read and done about a batch afterwards."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from evalsuite.ids import new_id
from experiments.models import Batch, ExperimentRun
from tests import factories
from tests.experiments.conftest import wait_for


@pytest.fixture
def experiment(org):
    factories.set_default_model(org, factories.make_model())
    return factories.make_experiment(org, inputs=3, variants=2)


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/experiments"


def run(api, url, experiment, body=None, **headers):
    return api.post(f"{url}/{experiment.pk}/run", body or {}, format="json", headers=headers)


def close_the_batch():
    """Do what a worker does to the rows: close all cells, then the batch."""
    try:
        batch = wait_for(Batch.objects.first)
        batch.runs.update(state="succeeded", finished_at=timezone.now())
        Batch.objects.filter(pk=batch.pk).update(state="finished", finished_at=timezone.now())
    finally:
        connections.close_all()


def test_respond_async_answers_202_with_all_cells_and_a_link(api, org, experiment, url):
    response = run(api, url, experiment, prefer="wait=5, respond-async")
    assert response.status_code == 202
    body = response.json()
    assert body.keys() == {"ok", "runs"}
    assert body["ok"] is True
    assert len(body["runs"]) == 6
    cells = {(row["variantId"], row["inputId"]) for row in body["runs"]}
    assert len(cells) == 6
    assert body["runs"][0].keys() == {"runId", "variantId", "inputId"}
    address = f"{url}/batches/{Batch.objects.get().pk}"
    assert response["Location"] == address
    assert response["Link"] == f'<{address}>; rel="progress"'
    assert response["Preference-Applied"] == "respond-async"
    assert api.get(address).json()["batch"]["counts"]["queued"] == 6


def test_a_larger_set_answers_202_without_being_asked(api, experiment, url, settings):
    settings.RUN_SYNC_CELLS = 5
    response = run(api, url, experiment)
    assert response.status_code == 202
    assert not response.has_header("Preference-Applied")


def test_what_takes_longer_than_the_wait_limit_answers_202(api, experiment, url, settings):
    settings.RUN_SYNC_WAIT = 0.1
    response = run(api, url, experiment)
    assert (response.status_code, len(response.json()["runs"])) == (202, 6)


@pytest.mark.django_db(transaction=True)
def test_a_small_set_answers_200_once_all_cells_are_closed(api, experiment, url):
    worker = threading.Thread(target=close_the_batch)
    worker.start()
    response = run(api, url, experiment)
    worker.join()
    assert (response.status_code, len(response.json()["runs"])) == (200, 6)
    assert set(ExperimentRun.objects.values_list("state", flat=True)) == {"succeeded"}


def test_chosen_inputs_variants_and_repeats(api, experiment, url):
    body = {
        "inputIds": [str(experiment.inputs.first().pk)],
        "variantIds": [str(experiment.variants.last().pk)],
        "repeats": 3,
        "parallel": 2,
    }
    response = run(api, url, experiment, body, prefer="respond-async")
    assert {row["inputId"] for row in response.json()["runs"]} == set(body["inputIds"])
    assert len(response.json()["runs"]) == 3
    batch = Batch.objects.get()
    assert (batch.total, batch.repeats, batch.parallel) == (3, 3, 2)


def test_running_again_adds_cells(api, experiment, url):
    for _ in range(2):
        run(api, url, experiment, prefer="respond-async")
    assert ExperimentRun.objects.count() == 12


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputIds": []}, "inputIds"),
        ({"inputIds": "all"}, "inputIds"),
        ({"inputIds": [5]}, "inputIds.0"),
        ({"variantIds": []}, "variantIds"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 21}, "repeats"),
        ({"parallel": 0}, "parallel"),
        ({"inputs": []}, "inputs"),
    ],
)
def test_bad_body_is_400_naming_the_field_and_queues_nothing(api, experiment, url, body, field):
    response = run(api, url, experiment, body)
    assert (response.status_code, list(response.json()["details"])) == (400, [field])
    assert not Batch.objects.exists()


@pytest.mark.parametrize(("inputs", "variants", "field"), [(0, 1, "inputs"), (1, 0, "variants")])
def test_nothing_to_run_is_400(api, org, url, inputs, variants, field):
    response = run(api, url, factories.make_experiment(org, inputs=inputs, variants=variants))
    assert (response.status_code, list(response.json()["details"])) == (400, [field])


@pytest.mark.parametrize("kind", ["input", "variant"])
@pytest.mark.parametrize("which", ["nonsense", "made up", "another experiment's"])
def test_an_id_that_is_not_the_experiments_is_404(api, org, experiment, url, kind, which):
    other = factories.make_experiment(org, inputs=1, variants=1)
    ids = {
        "nonsense": "nonsense",
        "made up": str(new_id()),
        "another experiment's": str(getattr(other, f"{kind}s").get().pk),
    }
    response = run(api, url, experiment, {f"{kind}Ids": [ids[which]]})
    assert (response.status_code, response.json()["error"]) == (404, f"{kind.upper()}_NOT_FOUND")
    assert not Batch.objects.exists()


def test_a_missing_model_is_404_and_queues_nothing(api, org, url):
    response = run(api, url, factories.make_experiment(org, inputs=1, variants=1))
    assert (response.status_code, response.json()["error"]) == (404, "MODEL_NOT_FOUND")
    assert not Batch.objects.exists()


def test_a_batch_tells_its_progress_author_and_duration(api, alice, org, url):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    cell = factories.make_run(experiment, state="failed")
    begun = timezone.now()
    Batch.objects.update(author=alice, started_at=begun, finished_at=begun + timedelta(seconds=2))
    batch = api.get(f"{url}/batches/{cell.batch_id}").json()["batch"]
    assert batch["author"] == {"id": str(alice.pk), "username": "alice"}
    assert batch["counts"] == {"queued": 0, "running": 0, "succeeded": 0, "failed": 1, "cancelled": 0}
    assert (batch["state"], batch["total"], batch["durationMs"]) == ("finished", 1, 2000)
    assert batch["startedAt"].endswith("Z")


def test_list_is_newest_first_in_a_constant_number_of_queries(api, org, url, django_assert_max_num_queries):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    cells = [factories.make_run(experiment) for _ in range(10)]
    with django_assert_max_num_queries(5):
        batches = api.get(f"{url}/{experiment.pk}/batches").json()["batches"]
    assert [batch["id"] for batch in batches] == [str(cell.batch_id) for cell in reversed(cells)]


def test_cancel(api, experiment, url):
    run(api, url, experiment, prefer="respond-async")
    address = f"{url}/batches/{Batch.objects.get().pk}"
    batch = api.post(f"{address}/cancel").json()["batch"]
    assert (batch["state"], batch["counts"]["cancelled"]) == ("cancelled", 6)
    assert api.post(f"{address}/cancel").status_code == 409


def test_retry_queues_the_failed_cells_again(api, org, url):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    cell = factories.make_run(experiment, state="failed")
    batch = api.post(f"{url}/batches/{cell.batch_id}/retry").json()["batch"]
    assert (batch["state"], batch["counts"]["queued"]) == ("running", 1)


def test_retry_without_a_failed_cell_is_409(api, org, url):
    cell = factories.make_run(factories.make_experiment(org, inputs=1, variants=1))
    response = api.post(f"{url}/batches/{cell.batch_id}/retry")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
