"""Metric definitions: the qualities that an org scores."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from experiments.models import EvalMetricDefinition, EvalScore
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
    }
    metric = api.post(url, body, format="json").json()["metric"]
    assert {name: metric[name] for name in body} == body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "key"),
        ({"key": "Bad Key"}, "key"),
        ({"key": "k", "name": ""}, "name"),
        ({"key": "k", "scale": "s" * 65}, "scale"),
        ({"key": "k", "minimum": "0"}, "minimum"),
        ({"key": "k", "minimum": 5, "maximum": 1}, "maximum"),
        ({"key": "k", "step": 0}, "step"),
        ({"key": "k", "direction": "up"}, "direction"),
        ({"key": "k", "direction": ["lower"]}, "direction"),
        ({"key": "k", "direction": {}}, "direction"),
        ({"key": "k", "unit": "ms"}, "unit"),
    ],
)
def test_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])


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
