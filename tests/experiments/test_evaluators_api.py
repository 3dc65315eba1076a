"""Evaluators: attached to an experiment, with settings that their kind accepts."""

from __future__ import annotations

import pytest

from experiments.models import EvalMetricDefinition, EvalScore, Evaluator
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=1, variants=1)


@pytest.fixture
def url(org, experiment):
    return f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/evaluators"


def test_create_makes_the_metric_too(api, org, url):
    body = {"kind": "contains", "metricKey": "mentions", "config": {"texts": ["yes"], "mode": "any"}}
    response = api.post(url, body, format="json")
    assert response.status_code == 201
    evaluator = response.json()["evaluator"]
    assert (evaluator["kind"], evaluator["name"], evaluator["enabled"]) == ("contains", "Contains", True)
    assert (evaluator["metricKey"], evaluator["config"]) == ("mentions", body["config"])
    assert EvalMetricDefinition.objects.get(org=org).key == "mentions"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"metricKey": "m"}, "kind"),
        ({"kind": "guess", "metricKey": "m"}, "kind"),
        ({"kind": [], "metricKey": "m"}, "kind"),
        ({"kind": "exact_match"}, "metricKey"),
        ({"kind": "exact_match", "metricKey": "M M"}, "metricKey"),
        ({"kind": "contains", "metricKey": "m", "config": {"mode": "some"}}, "config.mode"),
        ({"kind": "contains", "metricKey": "m", "config": {"texts": [""]}}, "config.texts.0"),
        ({"kind": "exact_match", "metricKey": "m", "config": {"text": "x"}}, "config"),
        ({"kind": "exact_match", "metricKey": "m", "config": []}, "config"),
        ({"kind": "exact_match", "metricKey": "m", "enabled": "yes"}, "enabled"),
    ],
)
def test_bad_body_is_400_naming_the_setting_and_writes_nothing(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])
    assert not EvalMetricDefinition.objects.exists()


def test_list_read_change_and_delete(api, url):
    body = {"kind": "exact_match", "metricKey": "correctness", "name": "Exact"}
    one = f"{url}/{api.post(url, body, format='json').json()['evaluator']['id']}"
    assert [row["name"] for row in api.get(url).json()["evaluators"]] == ["Exact"]
    changes = {"enabled": False, "metricKey": "other", "config": {"ignoreCase": False}}
    changed = api.patch(one, changes, format="json").json()["evaluator"]
    assert {name: changed[name] for name in changes} == changes
    assert api.get(one).json()["evaluator"] == changed
    assert api.patch(one, {"config": {"nonsense": 1}}, format="json").status_code == 400
    assert api.patch(one, {"kind": "contains"}, format="json").status_code == 400
    assert api.delete(one).status_code == 204
    assert api.get(one).json()["error"] == "EVALUATOR_NOT_FOUND"


def test_an_evaluator_that_has_given_scores_is_kept(api, org, experiment, url):
    metric = factories.make_metric(org)
    evaluator = Evaluator.objects.create(experiment=experiment, metric=metric, kind="exact_match", name="e")
    EvalScore.objects.create(run=factories.make_run(experiment), metric=metric, value=1, evaluator=evaluator)
    response = api.delete(f"{url}/{evaluator.pk}")
    assert (response.status_code, response.json()["details"]["scores"]) == (409, 1)
