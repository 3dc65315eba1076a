"""Inputs: all or none, each key once."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from experiments.models import ExperimentInput
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, variants=1)


@pytest.fixture
def url(org, experiment):
    return f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/inputs"


def case(n, **fields):
    return {"key": f"case_{n}", "content": f"text {n}", **fields}


def test_create_answers_exactly_ok(api, experiment, url):
    rows = [case(1, expected="kind", metadata={"source_id": 7}), case(2)]
    response = api.post(url, {"inputs": rows}, format="json")
    assert (response.status_code, response.json()) == (201, {"ok": True})
    first, second = experiment.inputs.order_by("id")
    assert (first.key, first.expected, first.metadata) == ("case_1", "kind", {"source_id": 7})
    assert (second.expected, second.metadata) == (None, {})
    event = AuditEvent.objects.get()
    assert (event.event, event.after) == (
        "experiment.inputs.created",
        {"count": 2, "keys": ["case_1", "case_2"]},
    )


def test_content_keeps_its_spaces(api, experiment, url):
    api.post(url, {"inputs": [case(1) | {"content": "  two\n\n"}]}, format="json")
    assert experiment.inputs.get().content == "  two\n\n"


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        (None, "inputs"),
        ([], "inputs"),
        ({}, "inputs"),
        (["text"], "inputs.0"),
        ([case(1), {"content": "x"}], "inputs.1.key"),
        ([case(1), {"key": "", "content": "x"}], "inputs.1.key"),
        ([case(1), {"key": "k" * 129, "content": "x"}], "inputs.1.key"),
        ([case(1), {"key": 2, "content": "x"}], "inputs.1.key"),
        ([case(1), {"key": "b"}], "inputs.1.content"),
        ([case(1), {"key": "b", "content": ""}], "inputs.1.content"),
        ([case(1), {"key": "b", "content": "c" * 1_000_001}], "inputs.1.content"),
        ([case(1), {"key": "b", "content": "a\0b"}], "inputs.1.content"),
        ([case(1), case(2, metadata=5)], "inputs.1.metadata"),
        ([case(1), case(2, expected=5)], "inputs.1.expected"),
        ([case(1), case(2, extra=5)], "inputs.1.extra"),
        ([case(1), case(2), case(3), case(1)], "inputs.3.key"),
    ],
)
def test_bad_input_is_400_naming_it_and_nothing_is_written(api, url, rows, field):
    response = api.post(url, {"inputs": rows}, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])
    assert not ExperimentInput.objects.exists()


def test_more_than_10000_inputs_are_400(api, url):
    response = api.post(url, {"inputs": [case(n) for n in range(10_001)]}, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, ["inputs"])


def test_10000_inputs_are_taken_at_once(api, experiment, url):
    response = api.post(url, {"inputs": [case(n) for n in range(10_000)]}, format="json")
    assert response.status_code == 201
    assert experiment.inputs.count() == 10_000


def test_keys_that_exist_are_409_listing_them_and_nothing_is_written(api, experiment, url):
    ExperimentInput.objects.create(experiment=experiment, **case(2))
    response = api.post(url, {"inputs": [case(1), case(2)]}, format="json")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    assert response.json()["details"]["keys"] == ["case_2"]
    assert experiment.inputs.count() == 1


def test_another_experiment_may_use_the_same_key(api, org, url):
    factories.make_experiment(org, inputs=1)
    assert api.post(url, {"inputs": [case(1)]}, format="json").status_code == 201


def test_read_list_change_and_delete(api, experiment, url):
    row = ExperimentInput.objects.create(experiment=experiment, **case(1, expected="x"))
    assert [shown["key"] for shown in api.get(url).json()["inputs"]] == ["case_1"]
    changed = api.patch(f"{url}/{row.pk}", {"expected": None}, format="json").json()["input"]
    assert (changed["expected"], changed["content"]) == (None, "text 1")
    assert api.get(f"{url}/{row.pk}").json()["input"] == changed
    assert api.delete(f"{url}/{row.pk}").status_code == 204
    assert api.get(f"{url}/{row.pk}").json()["error"] == "INPUT_NOT_FOUND"


def test_renaming_to_a_taken_key_is_409(api, experiment, url):
    ExperimentInput.objects.create(experiment=experiment, **case(1))
    row = ExperimentInput.objects.create(experiment=experiment, **case(2))
    response = api.patch(f"{url}/{row.pk}", {"key": "case_1"}, format="json")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")


def test_an_input_with_runs_is_kept(api, experiment, url):
    row = ExperimentInput.objects.create(experiment=experiment, **case(1))
    factories.make_run(experiment)
    response = api.delete(f"{url}/{row.pk}")
    assert (response.status_code, response.json()["details"]["runs"]) == (409, 1)
