"""A batch's progress as a stream, over a real web server."""

from __future__ import annotations

import json

import pytest
import requests
from rest_framework_simplejwt.tokens import RefreshToken

from experiments.services import planning
from tests import factories
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = pytest.mark.django_db(transaction=True)


def test_progress_is_streamed_until_the_batch_has_ended(site, embedded_worker, org, alice):
    with ObedientOllama(delay_s=0.15) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=2))
        experiment = factories.make_experiment(org, inputs=10, variants=1)
        batch = planning.start_batch(experiment=experiment, author=alice)
        response = requests.get(
            f"{site.url}/api/v1/orgs/{org.pk}/experiments/batches/{batch.pk}/events",
            headers={
                "Authorization": f"Bearer {RefreshToken.for_user(alice).access_token}",
                "Accept": "text/event-stream",
            },
            stream=True,
            timeout=20,
        )
        assert response.status_code == 200
        lines = [line for line in response.iter_lines(decode_unicode=True) if line.startswith("data:")]
    seen = [json.loads(line.removeprefix("data:")) for line in lines]
    assert len(seen) >= 2
    assert seen[-1]["state"] == "finished"
    assert seen[-1]["counts"]["succeeded"] == seen[-1]["total"] == 10
    closed = [one["counts"]["succeeded"] for one in seen]
    assert closed == sorted(closed)
