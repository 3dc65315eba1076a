"""GET .../comparison: what it takes, what it answers, and what it refuses by name."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from experiments.models import EvalScore
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=12, variants=2)


@pytest.fixture
def metric(org):
    return factories.make_metric(org, direction="higher")


@pytest.fixture
def ask(api, org, experiment):
    """The answer to a comparison of the two variants; other parameters by name."""
    first, second = experiment.variants.order_by("id")

    def get(**query):
        sides = {"baseline": first.pk, "candidate": second.pk}
        return api.get(f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/comparison", {**sides, **query})

    return get


def score(experiment, variant, metric, values, **fields):
    """A cell for each input, with its score; they are returned."""
    runs = []
    for row, value in zip(experiment.inputs.order_by("id"), values, strict=False):
        run = factories.make_run(experiment, variant=variant, input=row, **fields)
        EvalScore.objects.create(run=run, metric=metric, value=value)
        runs.append(run)
    return runs


@pytest.fixture
def better(experiment, metric):
    """The second variant is right on all twelve inputs, the first one on two."""
    first, second = experiment.variants.order_by("id")
    score(experiment, first, metric, [1, 1] + [0] * 10)
    score(experiment, second, metric, [1] * 12, latency_ms=240)


def test_one_metric(ask, experiment, better):
    response = ask(metric="correctness")
    assert response.status_code == 200
    body = response.json()
    assert body["experimentId"] == str(experiment.pk)
    assert body["baseline"] == {
        "variantId": str(experiment.variants.first().pk),
        "name": "variant 1",
        "batchId": None,
    }
    (found,) = body["comparisons"]
    assert (found["metricKey"], found["call"], found["pairs"]) == ("correctness", "better", 12)
    assert (found["wins"], found["losses"], found["ties"]) == (10, 0, 2)
    assert found["difference"] == pytest.approx(10 / 12)
    assert found["pValue"] == found["adjustedP"] == pytest.approx(2 / 2**10)
    assert (found["method"], found["comparisons"]) == ("exact McNemar test", 1)
    assert found["low"] > 0.4
    assert found["inputsNeeded"] is None
    assert found["words"].startswith("variant 2 is better than variant 1 in correctness.")
    assert "10 won, 0 lost, 2 tied" in found["words"]


def test_all_metrics_with_holm_s_correction(ask, better):
    found = {one["metricKey"]: one for one in ask(margin="0.1").json()["comparisons"]}
    assert list(found) == ["correctness", "latency"]
    assert [one["comparisons"] for one in found.values()] == [2, 2]
    assert found["latency"]["adjustedP"] == pytest.approx(2 * found["latency"]["pValue"])
    assert found["correctness"]["adjustedP"] == found["correctness"]["pValue"], "the larger one of two"
    assert (found["latency"]["call"], found["latency"]["direction"]) == ("worse", "lower")
    assert (found["correctness"]["margin"], found["latency"]["margin"]) == (0.1, 0.0)


def test_some_metrics_in_the_order_in_which_they_were_named(ask, better):
    found = ask(metric=["latency", "correctness", "latency"], margin="500").json()["comparisons"]
    assert [(one["metricKey"], one["margin"]) for one in found] == [("latency", 500), ("correctness", 500)]
    assert [one["comparisons"] for one in found] == [2, 2]
    assert found[0]["call"] == "same", "a margin holds for whatever is named"
    assert found[0]["words"].startswith("No difference that matters in Latency (ms) between variant 2 and")
    many = ask(metric=[f"m{number}" for number in range(51)])
    assert (many.status_code, list(many.json()["details"])) == (400, ["metric"])


def test_nothing_shared_is_said_in_words_and_no_error(ask, experiment, metric):
    first, second = experiment.variants.order_by("id")
    rows = list(experiment.inputs.order_by("id"))
    for variant, row in ((first, rows[0]), (second, rows[1]), (second, rows[2])):
        EvalScore.objects.create(
            run=factories.make_run(experiment, variant=variant, input=row), metric=metric, value=1
        )
    (found,) = ask(metric="correctness").json()["comparisons"]
    assert (found["call"], found["pairs"]) == ("unsure", 0)
    assert (found["onlyBaseline"], found["onlyCandidate"]) == (1, 2)
    assert found["words"] == "Cannot tell yet: no input has correctness on both sides."
    assert (found["difference"], found["low"], found["pValue"], found["effectSize"]) == (None,) * 4


def test_an_experiment_without_cells_has_no_comparisons(ask):
    assert ask().json()["comparisons"] == []


def in_batch(experiment, batch, variant, metric, values, contents=None):
    for at, (row, value) in enumerate(zip(experiment.inputs.order_by("id"), values, strict=False)):
        content = contents[at] if contents else row.content
        run = factories.make_run(
            experiment, variant=variant, input=row, snapshot={"inputKey": row.key, "content": content}
        )
        run.batch = batch
        run.save()
        EvalScore.objects.create(run=run, metric=metric, value=value)


@pytest.fixture
def batches(experiment):
    return [experiment.batches.create(total=12, state="finished") for _ in range(2)]


def test_batch_against_batch(ask, experiment, metric, batches):
    variant = experiment.variants.first()
    in_batch(experiment, batches[0], variant, metric, [1, 2, 3, 4])
    in_batch(experiment, batches[1], variant, metric, [2, 4, 3])
    query = {"candidate": variant.pk, "baselineBatch": batches[0].pk, "candidateBatch": batches[1].pk}
    (found,) = ask(metric="correctness", **query).json()["comparisons"]
    assert (found["pairs"], found["onlyBaseline"], found["onlyCandidate"]) == (3, 1, 0)
    assert found["difference"] == pytest.approx(1.0)
    assert found["words"].startswith("Cannot tell yet about correctness")


def test_both_sides_within_one_batch(ask, experiment, metric, batches):
    first, second = experiment.variants.order_by("id")
    for batch, value in zip(batches, (1, 5), strict=True):
        in_batch(experiment, batch, first, metric, [value] * 3)
        in_batch(experiment, batch, second, metric, [value + 1] * 3)
    body = ask(metric="correctness", batch=batches[1].pk).json()
    assert body["baseline"]["batchId"] == body["candidate"]["batchId"] == str(batches[1].pk)
    assert (body["comparisons"][0]["baselineMean"], body["comparisons"][0]["candidateMean"]) == (5, 6)


def test_an_input_whose_text_was_changed_is_another_one(ask, experiment, metric, batches):
    variant = experiment.variants.first()
    in_batch(experiment, batches[0], variant, metric, [1, 1, 1], contents=["a", "b", "c"])
    in_batch(experiment, batches[1], variant, metric, [2, 2, 2], contents=["a", "B", "c"])
    query = {"candidate": variant.pk, "baselineBatch": batches[0].pk, "candidateBatch": batches[1].pk}
    (found,) = ask(metric="correctness", **query).json()["comparisons"]
    assert (found["pairs"], found["onlyBaseline"], found["onlyCandidate"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("query", "status", "error", "field"),
    [
        ({"baseline": ""}, 400, "INVALID_BODY", "baseline"),
        ({"baseline": "0190aaaa-0000-7000-8000-000000000000"}, 404, "VARIANT_NOT_FOUND", None),
        ({"candidate": "no id"}, 404, "VARIANT_NOT_FOUND", None),
        ({"batch": "0190aaaa-0000-7000-8000-000000000000"}, 404, "BATCH_NOT_FOUND", None),
        ({"metric": "charm"}, 404, "METRIC_NOT_FOUND", None),
        ({"margin": "-0.1"}, 400, "INVALID_BODY", "margin"),
        ({"margin": "nan"}, 400, "INVALID_BODY", "margin"),
        ({"margin": "inf"}, 400, "INVALID_BODY", "margin"),
        ({"margin": "much"}, 400, "INVALID_BODY", "margin"),
        ({"batch": "x", "candidateBatch": "y"}, 400, "INVALID_BODY", "candidateBatch"),
    ],
)
def test_what_is_refused(ask, query, status, error, field):
    if "candidateBatch" in query:
        query = {**query, "batch": "0190aaaa-0000-7000-8000-000000000000"}
    response = ask(**{"metric": "latency", **query})
    assert (response.status_code, response.json()["error"]) == (status, error)
    if field:
        assert list(response.json()["details"]) == [field]


def test_a_side_is_not_compared_with_itself(ask, experiment, batches):
    variant = experiment.variants.first()
    response = ask(candidate=variant.pk, batch=batches[0].pk)
    assert (response.status_code, list(response.json()["details"])) == (400, ["candidate"])
    assert "baseline itself" in response.json()["details"]["candidate"][0]
    response = ask(candidate=variant.pk, candidateBatch=batches[0].pk)
    assert "name a batch for either side" in response.json()["details"]["candidate"][0]


def test_variants_and_batches_of_others_do_not_exist(ask, org):
    other = factories.make_experiment(org, inputs=1, variants=1, name="Other")
    run = factories.make_run(other)
    assert ask(candidate=run.variant_id).json()["error"] == "VARIANT_NOT_FOUND"
    assert ask(candidateBatch=run.batch_id).json()["error"] == "BATCH_NOT_FOUND"


def test_the_metric_of_another_org_does_not_exist(ask):
    factories.make_metric(factories.make_org(), "theirs")
    assert ask(metric="theirs").json()["error"] == "METRIC_NOT_FOUND"


def test_the_number_of_queries_does_not_grow(ask, org, experiment, better, django_assert_max_num_queries):
    for number in range(6):
        more = factories.make_metric(org, f"more_{number}")
        for run in experiment.runs.all():
            EvalScore.objects.create(run=run, metric=more, value=number)
    with django_assert_max_num_queries(11):
        assert len(ask().json()["comparisons"]) == 8


# --- the batch that new ones are compared with ---


@pytest.fixture
def url(org, experiment):
    return f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}"


def test_a_baseline_batch_is_set_and_cleared_and_audited(api, url, batches):
    assert api.get(url).json()["experiment"]["baselineBatchId"] is None
    for batch_id in (str(batches[0].pk), None):
        response = api.patch(url, {"baselineBatchId": batch_id}, format="json")
        assert response.status_code == 200
        assert response.json()["experiment"]["baselineBatchId"] == batch_id
    cleared, given = AuditEvent.objects.filter(event="experiment.updated").order_by("-id")
    assert (given.before, given.after) == ({"baselineId": None}, {"baselineId": str(batches[0].pk)})
    assert cleared.after == {"baselineId": None}


def test_a_baseline_of_another_experiment_is_404(api, org, url):
    theirs = factories.make_run(factories.make_experiment(org, inputs=1, variants=1)).batch_id
    response = api.patch(url, {"baselineBatchId": str(theirs)}, format="json")
    assert (response.status_code, response.json()["error"]) == (404, "BATCH_NOT_FOUND")
    assert api.patch(url, {"baselineBatchId": 5}, format="json").status_code == 400
