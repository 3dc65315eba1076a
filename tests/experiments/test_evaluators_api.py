"""Evaluators: attached to an experiment, with settings that their kind accepts."""

from __future__ import annotations

import pytest

from experiments.evaluators.registry import KINDS
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
        ({"kind": "exact_match", "metricKey": "tokens"}, "metricKey"),
        ({"kind": "contains", "metricKey": "m", "config": {"mode": "some"}}, "config.mode"),
        ({"kind": "contains", "metricKey": "m", "config": {"texts": [""]}}, "config.texts.0"),
        ({"kind": "exact_match", "metricKey": "m", "config": {"text": "x"}}, "config.text"),
        ({"kind": "exact_match", "metricKey": "m", "config": []}, "config"),
        ({"kind": "regex", "metricKey": "m"}, "config.pattern"),
        ({"kind": "regex", "metricKey": "m", "config": {"pattern": "("}}, "config.pattern"),
        ({"kind": "json_schema", "metricKey": "m", "config": {"schema": {"type": 5}}}, "config.schema"),
        ({"kind": "json_schema", "metricKey": "m", "config": {"schema": []}}, "config.schema"),
        ({"kind": "length", "metricKey": "m", "config": {"minWords": 2, "maxWords": 1}}, "config.maxWords"),
        ({"kind": "latency", "metricKey": "m", "config": {"maxMs": 0}}, "config.maxMs"),
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


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_setting_that_is_no_finite_number_is_400(api, url, number):
    raw = f'{{"kind": "numeric", "metricKey": "m", "config": {{"absolute": {number}}}}}'.encode()
    response = api.post(url, raw, content_type="application/json")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")


def test_the_kinds_come_with_what_a_form_needs(api, org):
    response = api.get(f"/api/v1/orgs/{org.pk}/evaluator-kinds")
    kinds = {row["kind"]: row for row in response.json()["evaluatorKinds"]}
    assert kinds.keys() == KINDS.keys()
    regex = kinds["regex"]
    assert (regex["title"], regex["needsCall"]) == ("Regular expression", False)
    assert regex["configSchema"]["properties"]["pattern"]["title"] == "Expression"
    assert kinds["judge"]["needsCall"] is True


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"judge"}))
def test_every_kind_is_attached_with_what_its_schema_says(api, url, kind):
    needed = {
        "regex": {"pattern": "yes"},
        "json_schema": {"schema": {"type": "object"}},
        "length": {"maxWords": 5},
        "latency": {"maxMs": 5},
        "tokens": {"maxOutput": 5},
    }
    config = {**KINDS[kind].defaults(), **needed.get(kind, {})}
    response = api.post(url, {"kind": kind, "metricKey": "m", "config": config}, format="json")
    assert response.status_code == 201
    assert response.json()["evaluator"]["config"] == config
