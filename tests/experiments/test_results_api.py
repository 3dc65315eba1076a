"""Aggregated results: true numbers, and nothing where nothing was measured."""

from __future__ import annotations

import numpy
import pytest

from experiments.models import EvalScore, Evaluator
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=1, variants=2)


@pytest.fixture
def url(org, experiment):
    return f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/results"


def first_variant(api, url):
    response = api.get(url)
    assert response.status_code == 200
    return response.json()["variants"][0]


def test_a_variant_without_runs_has_no_numbers_rather_than_zeros(api, experiment, url):
    body = api.get(url).json()
    assert body["experimentId"] == str(experiment.pk)
    assert [variant["name"] for variant in body["variants"]] == ["variant 1", "variant 2"]
    variant = body["variants"][0]
    assert variant["cells"]["total"] == 0
    assert variant["thumbs"] == {"up": 0, "down": 0, "rate": None}
    assert variant["latency"] == {"n": 0, "coldStarts": 0, "meanMs": None, "p50Ms": None, "p95Ms": None}
    assert variant["tokens"] == {"input": None, "output": None, "inputMean": None, "outputMean": None}


def test_cells_by_state(api, experiment, url):
    for state in ("succeeded", "succeeded", "failed", "queued"):
        factories.make_run(experiment, state=state)
    assert first_variant(api, url)["cells"] == {
        "queued": 1,
        "running": 0,
        "succeeded": 2,
        "failed": 1,
        "cancelled": 0,
        "total": 4,
    }


def test_the_thumbs_rate_is_over_the_thumbs_that_were_given(api, experiment, url):
    for thumb in (True, True, False, None, None):
        factories.make_run(experiment, thumbs_up=thumb)
    assert first_variant(api, url)["thumbs"] == {"up": 2, "down": 1, "rate": pytest.approx(2 / 3)}


@pytest.mark.parametrize("values", [[100], [100, 200], [5, 1, 4, 2, 3], list(range(1, 101)), [7, 7, 7]])
def test_latency_is_that_of_numpy(api, experiment, url, values):
    for value in values:
        factories.make_run(experiment, latency_ms=value)
    factories.make_run(experiment, variant=experiment.variants.last(), latency_ms=9_999)
    latency = first_variant(api, url)["latency"]
    assert latency["n"] == len(values)
    assert latency["meanMs"] == pytest.approx(numpy.mean(values))
    assert latency["p50Ms"] == pytest.approx(numpy.percentile(values, 50))
    assert latency["p95Ms"] == pytest.approx(numpy.percentile(values, 95))


def test_cold_starts_are_counted_and_left_out_of_latency(api, experiment, url):
    factories.make_run(experiment, latency_ms=100)
    factories.make_run(experiment, latency_ms=90_000, cold_start=True)
    factories.make_run(experiment, latency_ms=70_000, state="failed")
    assert first_variant(api, url)["latency"] == {
        "n": 1,
        "coldStarts": 1,
        "meanMs": 100.0,
        "p50Ms": 100.0,
        "p95Ms": 100.0,
    }


def test_tokens_that_were_not_told_are_not_zero(api, experiment, url):
    factories.make_run(experiment, input_tokens=10, output_tokens=None)
    factories.make_run(experiment, input_tokens=20, output_tokens=None)
    factories.make_run(experiment, input_tokens=None, output_tokens=None)
    tokens = first_variant(api, url)["tokens"]
    assert tokens == {"input": 30, "output": None, "inputMean": 15.0, "outputMean": None}


def test_each_metric_tells_how_many_answers_have_no_score(api, org, alice, experiment, url):
    metric = factories.make_metric(org)
    bob = factories.make_user("bob", org=org)
    runs = [factories.make_run(experiment) for _ in range(3)]
    failed = factories.make_run(experiment, state="failed")
    for run, rater, value in (
        (runs[0], alice, 1),
        (runs[0], bob, 2),
        (runs[1], alice, 6),
        (failed, alice, 100),
    ):
        EvalScore.objects.create(run=run, metric=metric, rater=rater, value=value)
    first, second = (variant["metrics"] for variant in api.get(url).json()["variants"])
    assert (first[0]["metricKey"], first[0]["n"], first[0]["missing"], first[0]["mean"]) == (
        "correctness",
        3,
        1,
        3.0,
    )
    assert (second[0]["n"], second[0]["missing"], second[0]["mean"]) == (0, 0, None)


def test_the_metric_of_an_evaluator_is_shown_before_it_has_scores(api, org, experiment, url):
    Evaluator.objects.create(
        experiment=experiment, metric=factories.make_metric(org), kind="exact_match", name="e"
    )
    factories.make_run(experiment)
    (metric,) = first_variant(api, url)["metrics"]
    assert (metric["n"], metric["missing"], metric["mean"]) == (0, 1, None)


def test_of_one_batch_alone(api, experiment, url):
    run = factories.make_run(experiment)
    factories.make_run(experiment)
    body = api.get(f"{url}?batchId={run.batch_id}").json()
    assert (body["batchId"], body["variants"][0]["cells"]["total"]) == (str(run.batch_id), 1)


def test_a_batch_of_another_experiment_is_404(api, org, url):
    other = factories.make_run(factories.make_experiment(org, inputs=1, variants=1))
    response = api.get(f"{url}?batchId={other.batch_id}")
    assert (response.status_code, response.json()["error"]) == (404, "BATCH_NOT_FOUND")


def test_the_number_of_queries_does_not_grow(api, org, experiment, url, django_assert_max_num_queries):
    for n in range(8):
        variant = experiment.variants.create(name=f"more {n}")
        EvalScore.objects.create(
            run=factories.make_run(experiment, variant=variant),
            metric=factories.make_metric(org, f"m{n}"),
            value=n,
        )
    with django_assert_max_num_queries(8):
        assert len(api.get(url).json()["variants"]) == 10
