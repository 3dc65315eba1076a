"""Runs: listing with filters, reading everything about one, deleting."""

from __future__ import annotations

import pytest
from django.utils import timezone

from evalsuite.ids import new_id
from experiments.models import EvalScore, ExperimentRun, RunAttempt
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=2, variants=2)


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/experiments"


def ids_of(response):
    assert response.status_code == 200
    return {row["id"] for row in response.json()["runs"]}


def test_list_is_newest_first_and_without_what_was_sent(api, experiment, url):
    runs = [factories.make_run(experiment) for _ in range(3)]
    rows = api.get(f"{url}/{experiment.pk}/runs").json()["runs"]
    assert [row["id"] for row in rows] == [str(run.pk) for run in reversed(runs)]
    assert rows[0]["output"] == "an answer"
    assert "messages" not in rows[0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=failed", {"failed"}),
        ("state=failed&state=succeeded", {"failed", "up", "down"}),
        ("thumbsUp=true", {"up"}),
        ("thumbsUp=false", {"down"}),
        ("thumbsUp=null", {"failed"}),
        ("thumbsUp=true&thumbsUp=false", {"up", "down"}),
        ("state=succeeded&thumbsUp=false", {"down"}),
    ],
)
def test_filters_by_state_and_thumbs(api, experiment, url, query, expected):
    runs = {
        "up": factories.make_run(experiment, thumbs_up=True),
        "down": factories.make_run(experiment, thumbs_up=False),
        "failed": factories.make_run(experiment, state="failed"),
    }
    wanted = {str(runs[name].pk) for name in expected}
    assert ids_of(api.get(f"{url}/{experiment.pk}/runs?{query}")) == wanted


@pytest.mark.parametrize(
    ("name", "field"), [("batchId", "batch"), ("variantId", "variant"), ("inputId", "input")]
)
def test_filters_by_what_a_run_belongs_to(api, experiment, url, name, field):
    run = factories.make_run(experiment)
    factories.make_run(experiment, variant=experiment.variants.last(), input=experiment.inputs.last())
    wanted = getattr(run, f"{field}_id")
    assert ids_of(api.get(f"{url}/{experiment.pk}/runs?{name}={wanted}")) == {str(run.pk)}


@pytest.mark.parametrize("query", ["batchId=x", "variantId=%00", "inputId=1", "state=done", "thumbsUp=maybe"])
def test_a_filter_that_means_nothing_is_400_naming_it(api, experiment, url, query):
    response = api.get(f"{url}/{experiment.pk}/runs?{query}")
    assert (response.status_code, list(response.json()["details"])) == (400, [query.split("=")[0]])


def test_read_tells_everything(api, alice, org, experiment, url):
    run = factories.make_run(
        experiment,
        messages=[{"role": "user", "content": "Hi"}],
        parameters={"num_ctx": 4096},
        snapshot={"inputKey": "case_1"},
        queue_ms=12,
        tokens_per_second=31.5,
        cold_start=True,
    )
    RunAttempt.objects.create(
        id=new_id(),
        run=run,
        number=1,
        started_at=timezone.now(),
        outcome="retry",
        error_code="PROVIDER_TIMEOUT",
    )
    EvalScore.objects.create(run=run, metric=factories.make_metric(org), value=4, rater=alice)
    shown = api.get(f"{url}/runs/{run.pk}").json()["run"]
    assert shown["messages"] == [{"role": "user", "content": "Hi"}]
    assert shown["parameters"] == {"num_ctx": 4096}
    assert shown["snapshot"] == {"inputKey": "case_1"}
    assert (shown["timings"]["queueMs"], shown["timings"]["tokensPerSecond"]) == (12, 31.5)
    assert shown["timings"]["loadMs"] is None
    assert shown["coldStart"] is True
    (attempt,) = shown["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["errorCode"]) == (1, "retry", "PROVIDER_TIMEOUT")
    (score,) = shown["scores"]
    assert (score["metricKey"], score["value"], score["rater"]["username"]) == ("correctness", 4.0, "alice")


def test_a_failed_run_tells_its_error(api, experiment, url):
    run = factories.make_run(
        experiment, state="failed", error_code="PROMPT_TOO_LONG", error_message="too long"
    )
    shown = api.get(f"{url}/runs/{run.pk}").json()["run"]
    assert (shown["errorCode"], shown["errorMessage"]) == ("PROMPT_TOO_LONG", "too long")


def test_delete(api, experiment, url):
    run = factories.make_run(experiment)
    type(run.batch).objects.update(finished_at=timezone.now())
    assert api.delete(f"{url}/runs/{run.pk}").status_code == 204
    assert not ExperimentRun.objects.exists()


def test_a_run_of_a_batch_under_way_is_kept(api, experiment, url):
    run = factories.make_run(experiment, state="queued")
    response = api.delete(f"{url}/runs/{run.pk}")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")


def test_a_run_cannot_be_changed(api, experiment, url):
    run = factories.make_run(experiment)
    response = api.patch(f"{url}/runs/{run.pk}", {"output": "better"}, format="json")
    assert (response.status_code, response.json()["error"]) == (405, "METHOD_NOT_ALLOWED")
