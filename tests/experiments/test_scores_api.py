"""Scores: one current value for each run, metric and rater; metrics that come into being."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from experiments.models import EvalMetricDefinition, EvalScore
from tests import factories


@pytest.fixture
def run(org):
    return factories.make_run(factories.make_experiment(org, inputs=1, variants=1))


@pytest.fixture
def url(org, run):
    return f"/api/v1/orgs/{org.pk}/experiments/runs/{run.pk}/scores"


def signed_in(user):
    client = APIClient()
    client.force_authenticate(user)
    return client


def test_create_answers_201_and_makes_the_metric(api, alice, org, run, url):
    response = api.post(url, {"metricKey": "style", "value": 4, "note": "warm"}, format="json")
    assert response.status_code == 201
    score = response.json()["score"]
    assert (score["runId"], score["metricKey"], score["value"]) == (str(run.pk), "style", 4.0)
    assert (score["note"], score["rater"]["id"], score["evaluatorId"]) == ("warm", str(alice.pk), None)
    metric = EvalMetricDefinition.objects.get(org=org)
    assert (metric.key, metric.name, metric.scale) == ("style", "style", "custom")
    events = set(AuditEvent.objects.values_list("event", flat=True))
    assert events == {"experiment.metric.created", "experiment.score.created"}


def test_no_metric_comes_into_being_under_the_name_of_a_figure(api, url):
    response = api.post(url, {"metricKey": "latency", "value": 4}, format="json")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")
    assert "Choose another key, such as my_latency." in response.json()["details"]["metricKey"][0]
    assert not EvalMetricDefinition.objects.exists()
    assert not EvalScore.objects.exists()


def test_an_existing_metric_is_used(api, org, url):
    metric = factories.make_metric(org, "style")
    score = api.post(url, {"metricKey": "style", "value": 1}, format="json").json()["score"]
    assert score["metricId"] == str(metric.pk)


def test_a_second_score_replaces_the_first_which_stays_in_the_audit_log(api, run, url):
    api.post(url, {"metricKey": "style", "value": 1, "note": "meh"}, format="json")
    assert api.post(url, {"metricKey": "style", "value": 5}, format="json").status_code == 201
    score = EvalScore.objects.get()
    assert (score.value, score.note) == (5.0, None)
    before = AuditEvent.objects.first().before
    assert (before["value"], before["note"]) == (1.0, "meh")


def test_each_rater_has_a_score_of_their_own(api, org, url):
    bob = signed_in(factories.make_user("bob", org=org, role="rater"))
    for client in (api, bob):
        assert client.post(url, {"metricKey": "style", "value": 3}, format="json").status_code == 201
    assert EvalScore.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"value": 1}, "metricKey"),
        ({"metricKey": "style"}, "value"),
        ({"metricKey": "Style", "value": 1}, "metricKey"),
        ({"metricKey": "a b", "value": 1}, "metricKey"),
        ({"metricKey": "style\n", "value": 1}, "metricKey"),
        ({"metricKey": "k" * 65, "value": 1}, "metricKey"),
        ({"metricKey": "", "value": 1}, "metricKey"),
        ({"metricKey": 5, "value": 1}, "metricKey"),
        ({"metricKey": "style", "value": "4"}, "value"),
        ({"metricKey": "style", "value": None}, "value"),
        ({"metricKey": "style", "value": True}, "value"),
        ({"metricKey": "style", "value": 10**400}, "value"),
        ({"metricKey": "style", "value": 1, "note": 2}, "note"),
        ({"metricKey": "style", "value": 1, "rater": "bob"}, "rater"),
    ],
)
def test_bad_body_is_400_naming_the_field_and_makes_no_metric(api, url, body, field):
    response = api.post(url, body, format="json")
    assert response.status_code == 400
    assert field in response.json()["details"]
    assert not EvalMetricDefinition.objects.exists()


@pytest.mark.parametrize("raw", [b'{"metricKey": "x", "value": NaN}', b'{"metricKey": "x", "value": 1e999}'])
def test_a_value_that_is_not_finite_is_400(api, url, raw):
    assert api.post(url, raw, content_type="application/json").status_code == 400


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "at least 1 and at most 5"), (5.5, "at least 1 and at most 5"), (2.3, "steps of 0.5")],
)
def test_a_value_off_the_scale_is_400_naming_the_bounds(api, org, url, value, words):
    factories.make_metric(org, "style", minimum=1, maximum=5, step=0.5)
    response = api.post(url, {"metricKey": "style", "value": value}, format="json")
    assert response.status_code == 400
    details = response.json()["details"]
    assert words in details["value"][0]
    assert (details["minimum"], details["maximum"], details["step"]) == (1.0, 5.0, 0.5)
    assert not EvalScore.objects.exists()


@pytest.mark.parametrize("value", [0, 0.1, 0.3, 1])
def test_steps_forgive_what_floats_cannot_say(api, org, url, value):
    factories.make_metric(org, "share", minimum=0, maximum=1, step=0.1)
    assert api.post(url, {"metricKey": "share", "value": value}, format="json").status_code == 201


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_a_run_without_an_answer_is_not_scored(api, run, url, state):
    type(run).objects.update(state=state)
    response = api.post(url, {"metricKey": "style", "value": 1}, format="json")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    assert not EvalMetricDefinition.objects.exists()


def test_list_read_change_and_delete(api, org, url):
    factories.make_metric(org, "style", minimum=1, maximum=5)
    score = api.post(url, {"metricKey": "style", "value": 4}, format="json").json()["score"]
    one = f"{url}/{score['id']}"
    assert api.get(url).json() == {"scores": [score], "next": None}
    assert api.get(one).json() == {"score": score}
    refused = api.patch(one, {"value": 9}, format="json")
    assert (refused.status_code, refused.json()["details"]["maximum"]) == (400, 5.0)
    changed = api.patch(one, {"value": 2}, format="json").json()["score"]
    assert (changed["value"], changed["note"]) == (2.0, None)
    assert api.delete(one).status_code == 204
    assert api.get(one).json()["error"] == "SCORE_NOT_FOUND"


def test_a_rater_changes_only_scores_of_their_own(api, org, url):
    score = api.post(url, {"metricKey": "style", "value": 4}, format="json").json()["score"]
    bob = signed_in(factories.make_user("bob", org=org, role="rater"))
    for response in (
        bob.patch(f"{url}/{score['id']}", {"value": 1}, format="json"),
        bob.delete(f"{url}/{score['id']}"),
    ):
        assert response.status_code == 403
        assert response.json()["details"]["permission"] == "org:experiments:write"
    assert EvalScore.objects.get().value == 4


@pytest.mark.xdist_group("many connections")
@pytest.mark.django_db(transaction=True)
def test_64_raters_at_once_make_one_metric_and_lose_no_score(org, run, url):
    raters = [factories.make_user(org=org, role="rater") for _ in range(64)]

    def rate(rater):
        try:
            return signed_in(rater).post(url, {"metricKey": "fresh", "value": 1}, format="json").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(rate, raters)) == {201}
    assert EvalMetricDefinition.objects.filter(key="fresh").count() == 1
    assert EvalScore.objects.count() == 64
    assert AuditEvent.objects.filter(event="experiment.metric.created").count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_rater_with_16_requests_at_once_has_one_score(org, run, url):
    rater = factories.make_user(org=org, role="rater")

    def rate(value):
        try:
            return signed_in(rater).post(url, {"metricKey": "m", "value": value}, format="json").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(rate, range(16))) == {201}
    assert EvalScore.objects.count() == 1
    assert AuditEvent.objects.filter(event="experiment.score.created").count() == 16
