"""The same request sent again, with the caller's `Idempotency-Key`."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import requests
from django.utils import timezone
from rest_framework_simplejwt.tokens import RefreshToken

from experiments.models import Batch, ExperimentRun
from experiments.models.runs import IdempotencyKey
from experiments.services import sweeping
from tests import factories

KEY = "11111111-2222"


@pytest.fixture
def experiment(org):
    factories.set_default_model(org, factories.make_model())
    return factories.make_experiment(org, inputs=3, variants=2)


def run(api, experiment, body=None, key=KEY):
    return api.post(
        f"/api/v1/orgs/{experiment.org_id}/experiments/{experiment.pk}/run",
        body or {},
        format="json",
        headers={"idempotency-key": key, "prefer": "respond-async"},
    )


def test_sent_again_it_answers_with_the_same_cells_and_starts_nothing(api, experiment):
    first, again = run(api, experiment), run(api, experiment)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first["Location"] == again["Location"]
    assert (Batch.objects.count(), ExperimentRun.objects.count()) == (1, 6)


def test_another_body_under_the_key_is_422_naming_the_header(api, experiment):
    run(api, experiment)
    refused = run(api, experiment, {"repeats": 2})
    assert (refused.status_code, refused.json()["error"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert refused.json()["details"]["header"] == "Idempotency-Key"
    assert Batch.objects.count() == 1


def test_another_experiment_under_the_key_is_422(api, org, experiment):
    run(api, experiment)
    assert run(api, factories.make_experiment(org, inputs=1, variants=1)).status_code == 422


def test_a_key_is_the_callers_own(api, org, experiment):
    run(api, experiment)
    api.force_authenticate(factories.make_user("bob", org=org, role="editor"))
    assert run(api, experiment, {"repeats": 2}).status_code == 202
    assert Batch.objects.count() == 2


def test_a_request_that_was_refused_does_not_use_its_key_up(api, org, experiment):
    assert run(api, experiment, {"repeats": 99}).status_code == 400
    assert not IdempotencyKey.objects.exists()
    assert run(api, experiment).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel"])
def test_an_impossible_key_is_400(api, experiment, key):
    refused = run(api, experiment, key=key)
    assert (refused.status_code, list(refused.json()["details"])) == (400, ["Idempotency-Key"])
    assert not Batch.objects.exists()


def test_a_key_is_forgotten_after_a_day(api, experiment):
    run(api, experiment)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    sweeping.sweep()
    assert IdempotencyKey.objects.exists()
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    sweeping.sweep()
    assert not IdempotencyKey.objects.exists()
    run(api, experiment)
    assert Batch.objects.count() == 2


@pytest.mark.xdist_group("many connections")
@pytest.mark.django_db(transaction=True)
def test_64_at_once_start_one_batch(site, alice, experiment):
    headers = {
        "Authorization": f"Bearer {RefreshToken.for_user(alice).access_token}",
        "Idempotency-Key": KEY,
        "Prefer": "respond-async",
    }
    url = f"{site.url}/api/v1/orgs/{experiment.org_id}/experiments/{experiment.pk}/run"
    together = threading.Barrier(64)
    answers = []

    def send():
        together.wait()
        answers.append(requests.post(url, json={}, headers=headers, timeout=60))

    threads = [threading.Thread(target=send) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Batch.objects.count() == 1
    assert ExperimentRun.objects.count() == 6
    assert len(answers) == 64
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
