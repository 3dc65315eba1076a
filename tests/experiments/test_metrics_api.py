"""Metric definitions: the qualities that an org scores."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import InvalidBody
from experiments.models import EvalMetricDefinition, EvalScore
from experiments.services import metric_definitions
from tests import factories


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/metrics"


def test_create_with_a_key_alone(api, url):
    response = api.post(url, {"key": "style"}, format="json")
    assert response.status_code == 201
    metric = response.json()["metric"]
    assert (metric["key"], metric["name"], metric["scale"]) == ("style", "style", "custom")
    assert (metric["minimum"], metric["maximum"], metric["step"]) == (None, None, None)
    assert metric["direction"] == "higher"
    assert AuditEvent.objects.get().event == "experiment.metric.created"


def test_create_with_everything(api, url):
    body = {
        "key": "hallucination_risk",
        "name": "Risk",
        "description": "Invented facts.",
        "scale": "0-1",
        "minimum": 0,
        "maximum": 1,
        "step": 0.1,
        "direction": "lower",
        "labels": {"0": "none", "1": "all invented", "0.5": "some"},
    }
    metric = api.post(url, body, format="json").json()["metric"]
    assert {name: metric[name] for name in body} == body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "key"),
        ({"key": "Bad Key"}, "key"),
        ({"key": "thumbs"}, "key"),
        ({"key": "latency"}, "key"),
        ({"key": "tokens"}, "key"),
        ({"key": "k", "name": ""}, "name"),
        ({"key": "k", "scale": "s" * 65}, "scale"),
        ({"key": "k", "minimum": "0"}, "minimum"),
        ({"key": "k", "minimum": 5, "maximum": 1}, "maximum"),
        ({"key": "k", "minimum": 1, "maximum": 1}, "maximum"),
        ({"key": "k", "step": 0}, "step"),
        ({"key": "k", "step": -1}, "step"),
        ({"key": "k", "minimum": 0, "maximum": 1, "step": 2}, "step"),
        ({"key": "k", "labels": []}, "labels"),
        ({"key": "k", "labels": {"five": "perfect"}}, "labels"),
        ({"key": "k", "labels": {"1_0": "ten"}}, "labels"),
        ({"key": "k", "labels": {"nan": "none"}}, "labels"),
        ({"key": "k", "labels": {"inf": "all"}}, "labels"),
        ({"key": "k", "labels": {"9" * 400: "many"}}, "labels"),
        ({"key": "k", "labels": {"1": ""}}, "labels"),
        ({"key": "k", "labels": {"1": 1}}, "labels"),
        ({"key": "k", "labels": {"1": "w" * 65}}, "labels"),
        ({"key": "k", "labels": {"1": "a", "1.0": "b"}}, "labels"),
        ({"key": "k", "labels": {str(n): "word" for n in range(102)}}, "labels"),
        ({"key": "k", "minimum": 1, "maximum": 5, "labels": {"6": "too good"}}, "labels"),
        ({"key": "k", "minimum": 1, "maximum": 5, "step": 1, "labels": {"1.5": "so so"}}, "labels"),
        ({"key": "k", "direction": "up"}, "direction"),
        ({"key": "k", "direction": ["lower"]}, "direction"),
        ({"key": "k", "direction": {}}, "direction"),
        ({"key": "k", "unit": "ms"}, "unit"),
    ],
)
def test_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])


@pytest.mark.parametrize("field", ["minimum", "maximum", "step"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_bound_that_is_no_finite_number_is_400(api, url, field, number):
    raw = f'{{"key": "k", "{field}": {number}}}'.encode()
    response = api.post(url, raw, content_type="application/json")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")
    assert not EvalMetricDefinition.objects.exists()


def test_a_change_after_which_labels_are_off_the_scale_is_400(api, org, url):
    metric = factories.make_metric(org, minimum=1, maximum=5, labels={"5": "perfect"})
    response = api.patch(f"{url}/{metric.pk}", {"maximum": 4}, format="json")
    assert response.json()["details"] == {
        "labels": ["5 is not on the scale: On the metric correctness this must be at least 1 and at most 4."]
    }
    both = {"maximum": 4, "labels": {"4": "perfect"}}
    assert api.patch(f"{url}/{metric.pk}", both, format="json").status_code == 200


def test_a_change_is_checked_against_the_scale_as_it_is_by_then(org, alice):
    metric = factories.make_metric(org, minimum=1, maximum=5)
    stale = EvalMetricDefinition.objects.select_related("org").get(pk=metric.pk)
    metric_definitions.update_metric(metric, actor=alice, maximum=3.0)
    with pytest.raises(InvalidBody):
        metric_definitions.update_metric(stale, actor=alice, minimum=4.0)


def test_a_score_tells_the_word_for_its_value(api, org):
    factories.make_metric(org, "style", labels={"1": "poor", "5.0": "perfect"})
    run = factories.make_run(factories.make_experiment(org, inputs=1, variants=1))
    scores = f"/api/v1/orgs/{org.pk}/experiments/runs/{run.pk}/scores"
    for value, word in ((5, "perfect"), (2, None)):
        body = {"metricKey": "style", "value": value}
        assert api.post(scores, body, format="json").json()["score"]["valueLabel"] == word


def test_a_key_that_exists_is_409(api, org, url):
    factories.make_metric(org, "style")
    response = api.post(url, {"key": "style"}, format="json")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")


def test_another_org_may_use_the_same_key(api, url):
    factories.make_metric(factories.make_org(), "style")
    assert api.post(url, {"key": "style"}, format="json").status_code == 201


def test_list_read_change_and_delete(api, org, url):
    metric = factories.make_metric(org, minimum=1, maximum=5)
    assert [row["key"] for row in api.get(url).json()["metrics"]] == ["correctness"]
    changed = api.patch(f"{url}/{metric.pk}", {"maximum": 10}, format="json").json()["metric"]
    assert (changed["minimum"], changed["maximum"]) == (1.0, 10.0)
    assert api.delete(f"{url}/{metric.pk}").status_code == 204
    assert api.get(f"{url}/{metric.pk}").json()["error"] == "METRIC_NOT_FOUND"


def test_a_change_that_turns_the_bounds_around_is_400(api, org, url):
    metric = factories.make_metric(org, minimum=1, maximum=5)
    response = api.patch(f"{url}/{metric.pk}", {"minimum": 6}, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, ["maximum"])


def test_the_key_cannot_be_changed(api, org, url):
    metric = factories.make_metric(org)
    assert api.patch(f"{url}/{metric.pk}", {"key": "other"}, format="json").status_code == 400


def test_a_metric_in_use_is_kept(api, org, url):
    metric = factories.make_metric(org)
    run = factories.make_run(factories.make_experiment(org, inputs=1, variants=1))
    EvalScore.objects.create(run=run, metric=metric, value=1)
    response = api.delete(f"{url}/{metric.pk}")
    assert (response.status_code, response.json()["details"]["scores"]) == (409, 1)
    assert EvalMetricDefinition.objects.exists()


@pytest.mark.parametrize(
    ("bound", "value", "words"),
    [("minimum", -1, "must be at least 0."), ("maximum", 1, "must be at most 0.")],
)
def test_a_scale_with_one_end_names_that_end(bound, value, words):
    metric = EvalMetricDefinition(key="m", **{bound: 0})
    assert words in metric_definitions.off_scale(metric, value)
