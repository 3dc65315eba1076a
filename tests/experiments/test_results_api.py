"""Aggregated results: true numbers, and nothing where nothing was measured."""

from __future__ import annotations

import numpy
import pytest
from scipy import stats

from evalsuite.orgs.models import User
from experiments import statistics
from experiments.models import EvalScore, Evaluator
from experiments.statistics import Moments
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
    assert variant["thumbs"] == {
        "up": 0,
        "down": 0,
        "rate": None,
        "low": None,
        "high": None,
        "method": "none",
    }
    assert variant["latency"] == {
        "n": 0,
        "coldStarts": 0,
        "cached": 0,
        "meanMs": None,
        "p50Ms": None,
        "p95Ms": None,
    }
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


def thumb(run, *ups):
    """One for each rater."""
    for number, up in enumerate(ups):
        rater = User.objects.filter(username=f"rater{number}").first() or factories.make_user(
            f"rater{number}"
        )
        run.thumbs.create(rater=rater, up=up)


def test_the_thumbs_rate_is_over_the_thumbs_that_were_given(api, experiment, url):
    for ups in ([True], [True], [False], [], []):
        thumb(factories.make_run(experiment), *ups)
    thumbs = first_variant(api, url)["thumbs"]
    assert (thumbs["up"], thumbs["down"], thumbs["rate"]) == (2, 1, pytest.approx(2 / 3))
    assert (thumbs["low"], thumbs["high"], thumbs["method"]) == (None, None, "Wilson, clustered by input")


def test_thumbs_of_several_people_are_averaged_by_cell(api, experiment, url):
    """What three people say of one answer is no three answers."""
    for n in range(9):
        row = experiment.inputs.create(key=f"more {n}", content="text")
        thumb(factories.make_run(experiment, input=row), n % 3 > 0)
    thumb(factories.make_run(experiment), True, True, True, False)
    thumbs = first_variant(api, url)["thumbs"]
    assert (thumbs["up"], thumbs["down"]) == (9, 4)
    assert thumbs["rate"] == pytest.approx((6 + 0.75) / 10)
    shares = Moments.of([0, 1, 1] * 3 + [0.75])
    assert thumbs["low"] == pytest.approx(statistics.clustered_wilson(shares, cells=10).low)


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


def test_cold_starts_and_cached_answers_are_counted_and_left_out_of_latency(api, experiment, url):
    factories.make_run(experiment, latency_ms=100)
    factories.make_run(experiment, latency_ms=90_000, cold_start=True)
    factories.make_run(experiment, latency_ms=70_000, state="failed")
    factories.make_run(experiment, latency_ms=None, cached_latency_ms=5)
    assert first_variant(api, url)["latency"] == {
        "n": 1,
        "coldStarts": 1,
        "cached": 1,
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
        (1.5 + 6) / 2,  # raters are averaged by cell first
    )
    assert (first[0]["cells"], first[0]["inputs"], first[0]["low"]) == (2, 1, None)
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
    with django_assert_max_num_queries(10):
        assert len(api.get(url).json()["variants"]) == 10


def scored(experiment, metric, values, **fields):
    """A cell with a score on an input of its own."""
    for number, value in enumerate(values):
        row = experiment.inputs.get_or_create(key=f"scored {number}", defaults={"content": "text"})[0]
        run = factories.make_run(experiment, input=row, **fields)
        EvalScore.objects.create(run=run, metric=metric, value=value)


def test_a_metric_of_zeros_and_ones_has_wilson_s_interval(api, org, experiment, url):
    scored(experiment, factories.make_metric(org), [1] * 15 + [0] * 5)
    (metric,) = first_variant(api, url)["metrics"]
    expected = stats.binomtest(15, 20).proportion_ci(method="wilson")
    assert metric["method"] == "Wilson"
    assert (metric["low"], metric["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_other_metrics_have_an_interval_that_follows_their_skewness(api, org, experiment, url):
    values = [1, 1, 2, 5, 3, 1, 2]
    scored(experiment, factories.make_metric(org), values)
    (metric,) = first_variant(api, url)["metrics"]
    expected = statistics.mean_interval(Moments.of(values))
    assert metric["method"] == expected.method
    assert (metric["low"], metric["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_repeats_are_clustered_by_input(api, org, experiment, url):
    metric = factories.make_metric(org)
    for values in ([1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 1, 1]):
        scored(experiment, metric, values)
    (found,) = first_variant(api, url)["metrics"]
    assert (found["n"], found["cells"], found["inputs"], found["mean"]) == (12, 12, 4, pytest.approx(8 / 12))
    expected = statistics.clustered_wilson(Moments.of([1, 0, 2 / 3, 1]), cells=12)
    assert found["method"] == "Wilson, clustered by input"
    assert (found["low"], found["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_one_batch_by_either_name(api, experiment, url):
    run = factories.make_run(experiment)
    factories.make_run(experiment)
    for query in (
        f"batch={run.batch_id}",
        f"batchId={run.batch_id}",
        f"batch={run.batch_id}&batchId={run.batch_id}",
    ):
        assert api.get(f"{url}?{query}").json()["variants"][0]["cells"]["total"] == 1
    both = api.get(f"{url}?batch={run.batch_id}&batchId={experiment.pk}")
    assert (both.status_code, list(both.json()["details"])) == (400, ["batch"])
