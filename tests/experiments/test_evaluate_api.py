"""Evaluate again by API and command: what is queued, for whom, and what a batch tells of it."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from evalsuite.audit.models import AuditEvent
from evalsuite.ids import new_id
from experiments.models import Evaluation, Evaluator
from tests import factories

JUDGE = {"rubric": "Is it right?", "scale": {"minimum": 1, "maximum": 5, "step": 1}}


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=1, variants=1)


@pytest.fixture
def base(org):
    return f"/api/v1/orgs/{org.pk}/experiments"


@pytest.fixture
def url(base, run):
    return f"{base}/batches/{run.batch_id}/evaluate"


def test_a_batch_is_queued_and_tells_so(api, alice, base, url, run, evaluator):
    response = api.post(url, {}, format="json")
    assert (response.status_code, response.json()) == (202, {"ok": True, "evaluations": 1})
    batch = api.get(f"{base}/batches/{run.batch_id}").json()["batch"]
    assert batch["evaluations"] == {"pending": 1, "done": 0, "missing": 0}
    progress = api.get(f"{base}/batches/{run.batch_id}/progress").json()
    assert progress["evaluations"] == batch["evaluations"]
    event = AuditEvent.objects.get(event="experiment.evaluation.started")
    assert (event.actor, event.object_id) == (alice, str(run.batch_id))
    assert event.after == {"evaluations": 1, "evaluators": ["Exact"], "onlyMissing": False}


def test_an_experiment_is_queued_without_its_batches_under_way(api, base, experiment, run, evaluator):
    factories.make_run(experiment)
    response = api.post(f"{base}/{experiment.pk}/evaluate", {"onlyMissing": True}, format="json")
    assert (response.status_code, response.json()["evaluations"]) == (202, 1)
    assert Evaluation.objects.get().run == run


def test_named_evaluators_alone(api, org, url, experiment, evaluator):
    metric = factories.make_metric(org, "other")
    Evaluator.objects.create(experiment=experiment, metric=metric, kind="contains", name="Contains")
    response = api.post(url, {"evaluatorIds": [str(evaluator.pk)]}, format="json")
    assert response.json()["evaluations"] == 1
    assert Evaluation.objects.get().evaluator == evaluator


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"evaluatorIds": []}, 400, "INVALID_BODY"),
        ({"evaluatorIds": ["nonsense"]}, 404, "EVALUATOR_NOT_FOUND"),
        ({"evaluatorIds": [str(new_id())]}, 404, "EVALUATOR_NOT_FOUND"),
        ({"onlyMissing": "yes"}, 400, "INVALID_BODY"),
        ({"evaluators": []}, 400, "INVALID_BODY"),
    ],
)
def test_a_bad_body_queues_nothing(api, url, evaluator, body, status, error):
    response = api.post(url, body, format="json")
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert not Evaluation.objects.exists()


def test_an_evaluator_of_another_experiment_is_not_found(api, org, url, evaluator):
    other = factories.make_experiment(org)
    foreign = Evaluator.objects.create(experiment=other, metric=evaluator.metric, kind="contains", name="x")
    response = api.post(url, {"evaluatorIds": [str(foreign.pk)]}, format="json")
    assert response.status_code == 404


def test_a_batch_of_another_org_is_not_found(api, base, evaluator):
    foreign = factories.make_run(factories.make_experiment(factories.make_org(), inputs=1, variants=1))
    response = api.post(f"{base}/batches/{foreign.batch_id}/evaluate", {}, format="json")
    assert (response.status_code, response.json()["error"]) == (404, "BATCH_NOT_FOUND")


def test_nobody_to_evaluate_and_batches_under_way_are_conflicts(api, url, base, experiment, run):
    assert api.post(url, {}, format="json").status_code == 409
    going = factories.make_run(experiment)
    response = api.post(f"{base}/batches/{going.batch_id}/evaluate", {}, format="json")
    assert response.status_code == 409


def test_the_command_queues_a_batch(run, evaluator, capsys):
    call_command("batch", "evaluate", str(run.batch_id))
    assert "1 evaluations queued" in capsys.readouterr().out
    assert Evaluation.objects.get().run == run
    evaluator.delete()
    with pytest.raises(CommandError, match="no evaluator"):
        call_command("batch", "evaluate", str(run.batch_id))


# Judges by API


def test_a_judge_is_attached(api, org, base, experiment):
    factories.set_default_model(org, factories.make_model())
    config = {**JUDGE, "modelProvider": "ollama", "modelName": "tiny:1b"}
    body = {"kind": "judge", "metricKey": "quality", "config": config}
    response = api.post(f"{base}/{experiment.pk}/evaluators", body, format="json")
    assert response.status_code == 201
    assert response.json()["evaluator"]["config"] == config


@pytest.mark.parametrize(
    ("changes", "status", "details"),
    [
        ({"scale": {}}, 400, "config.scale"),
        ({"modelName": "nobody"}, 404, "modelName"),
    ],
)
def test_a_rubric_without_scale_and_an_unknown_model_are_refused(
    api, base, experiment, changes, status, details
):
    body = {"kind": "judge", "metricKey": "quality", "config": {**JUDGE, **changes}}
    response = api.post(f"{base}/{experiment.pk}/evaluators", body, format="json")
    assert response.status_code == status
    assert details in response.json()["details"]
    assert not Evaluator.objects.exists()
