"""Experiments: the contract's list and creation, and the rest of their life."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from evalsuite.audit.models import AuditEvent
from experiments.api import experiments as experiments_api
from experiments.models import Experiment, ExperimentInput, ExperimentRun
from tests import factories


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/experiments"


def queries_of(api, url):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = api.get(url)
    assert response.status_code == 200
    return len(captured)


def test_create_answers_201_with_the_experiment(api, alice, url):
    metadata = {"snake_case": 1, "camelCase": [None, 0.5, {"a": "ü"}]}
    response = api.post(
        url, {"name": "Tone", "description": "Is it kind?", "metadata": metadata}, format="json"
    )
    assert response.status_code == 201
    experiment = response.json()["experiment"]
    assert experiment["name"] == "Tone"
    assert experiment["description"] == "Is it kind?"
    assert experiment["type"] == "prompt_eval"
    assert experiment["metadata"] == metadata
    assert experiment["createdBy"] == {"id": str(alice.pk), "username": "alice"}
    assert experiment["createdAt"].endswith("Z")
    assert (experiment["variants"], experiment["inputs"], experiment["runs"]) == ([], [], [])
    assert AuditEvent.objects.get().event == "experiment.created"


def test_a_null_description_is_an_empty_one(api, url):
    assert (
        api.post(url, {"name": "Tone", "description": None}, format="json").json()["experiment"][
            "description"
        ]
        == ""
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": "n" * 257}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "x", "description": "d" * 10_001}, "description"),
        ({"name": "x", "metadata": []}, "metadata"),
        ({"name": "x", "metadata": {"a": "b" * 262_144}}, "metadata"),
        ({"name": "x", "nmae": "y"}, "nmae"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert response.status_code == 400
    assert response.json()["error"] == "INVALID_BODY"
    assert field in response.json()["details"]
    assert not Experiment.objects.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"null",
        b"\xff",
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"name": "x", "metadata": {"a": 1e999}}',
        b'{"name": "x", "metadata": {"a": ' + b"[" * 1000 + b"]" * 1000 + b"}}",
    ],
)
def test_json_that_no_database_keeps_is_400(api, url, raw):
    response = api.post(url, raw, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["error"] == "INVALID_BODY"


def test_list_is_newest_first_with_what_belongs_to_each(api, org, url):
    older = factories.make_experiment(org, inputs=2, variants=1, name="older")
    run = factories.make_run(older)
    factories.make_experiment(org, name="newer")
    body = api.get(url).json()
    assert [experiment["name"] for experiment in body["experiments"]] == ["newer", "older"]
    assert body["next"] is None
    shown = body["experiments"][1]
    assert [variant["name"] for variant in shown["variants"]] == ["variant 1"]
    assert [row["key"] for row in shown["inputs"]] == ["case_2", "case_1"]
    assert [(row["id"], row["output"]) for row in shown["runs"]] == [(str(run.pk), "an answer")]
    assert (shown["variantCount"], shown["inputCount"], shown["runCount"]) == (1, 2, 1)


def test_only_the_newest_50_inputs_and_100_runs_are_nested_with_true_totals(api, org, url):
    experiment = factories.make_experiment(org, inputs=60, variants=1)
    first = factories.make_run(experiment)
    ExperimentRun.objects.bulk_create(
        ExperimentRun(
            **{
                name: getattr(first, name)
                for name in ("experiment", "batch", "variant", "input", "temperature", "top_p", "position")
            },
            repeat=repeat,
        )
        for repeat in range(2, 122)
    )
    other = factories.make_experiment(org, inputs=1, variants=1)
    factories.make_run(other)
    shown = api.get(url).json()["experiments"]
    assert [len(row["inputs"]) for row in shown] == [1, 50]
    assert [len(row["runs"]) for row in shown] == [1, 100]
    assert (shown[1]["inputCount"], shown[1]["runCount"]) == (60, 121)
    assert shown[1]["inputs"][0]["key"] == "case_60"
    assert [row["repeat"] for row in shown[1]["runs"]] == list(range(121, 21, -1))


def test_nested_rows_are_to_the_letter_those_of_their_own_lists(api, org, alice, url):
    """The database makes the former, the serializers the latter."""
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    moments = [datetime(2026, 1, 31, 23, 59, 59, after, UTC) for after in (0, 120_000, 1)]
    odd = '\u2028 "\\" \t\x7f ü \U0001f600 </script>'
    experiment.inputs.create(key="odd", content=odd, metadata={"b": [1.0, None], "a": {"ü": odd}})
    ExperimentInput.objects.update(created_at=moments[0])
    factories.make_run(experiment, state="queued", output="", latency_ms=None, max_tokens=5)
    original = factories.make_run(experiment, started_at=moments[0], finished_at=moments[1])
    cached = {"latency_ms": None, "cached_latency_ms": 40}
    factories.make_run(experiment, cached_from=original, **cached)
    factories.make_run(experiment, **cached)
    factories.make_run(experiment, state="failed", output=odd, error_code="BROKEN", error_message=odd)
    experiment.runs.filter(state="failed").update(finished_at=Now())  # by the database's own clock
    for up in (True, False):
        rated = factories.make_run(experiment, cold_start=up, temperature=0, started_at=moments[2])
        path = f"/api/v1/orgs/{org.pk}/experiments/runs/{rated.pk}/feedback"
        assert api.post(path, {"thumbsUp": up, "note": odd}, format="json").status_code == 200
    nested = api.get(url).content
    for name in ("runs", "inputs"):
        rows = api.get(f"{url}/{experiment.pk}/{name}").content.removesuffix(b',"next":null}')
        assert rows[1:] in nested, (rows, nested)


def test_a_large_page_is_sent_in_pieces_and_is_the_same(api, org, url, monkeypatch):
    for _ in range(experiments_api.FIRST + 2):
        factories.make_run(factories.make_experiment(org, inputs=2, variants=1))
    at_once = api.get(f"{url}?limit=6")
    monkeypatch.setattr(experiments_api, "MOST_AT_ONCE", 0)
    with CaptureQueriesContext(connection) as asked:
        answer = api.get(f"{url}?limit=6")
        pieces = list(answer)
    assert len(pieces) == 7
    assert b"".join(pieces) == at_once.content
    assert answer["Content-Type"] == at_once["Content-Type"]
    assert len(asked) <= 15


def test_nested_false_leaves_the_nests_out_and_keeps_the_counts(api, org, url):
    factories.make_experiment(org, inputs=3, variants=1)
    (shown,) = api.get(f"{url}?nested=false").json()["experiments"]
    assert shown["inputCount"] == 3
    assert not {"variants", "inputs", "runs"} & shown.keys()


def test_nested_maybe_is_400(api, url):
    response = api.get(f"{url}?nested=maybe")
    assert (response.status_code, list(response.json()["details"])) == (400, ["nested"])


@pytest.mark.parametrize("query", ["", "?nested=false"])
def test_the_number_of_queries_does_not_grow_with_the_experiments(api, org, url, query):
    factories.make_run(factories.make_experiment(org, inputs=2, variants=2))
    of_one = queries_of(api, url + query)
    for _ in range(9):
        factories.make_run(factories.make_experiment(org, inputs=2, variants=2))
    assert queries_of(api, url + query) == of_one <= 6


def test_pages_follow_each_other_by_next(api, org, url):
    for n in range(5):
        factories.make_experiment(org, name=str(n))
    names, following = [], f"{url}?limit=2"
    while following:
        body = api.get(following).json()
        names += [experiment["name"] for experiment in body["experiments"]]
        following = body["next"]
    assert names == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=-1", "limit=1.5", "cursor=cD1hYmM="]
)
def test_bad_page_is_400(api, org, url, query):
    factories.make_experiment(org)
    assert api.get(f"{url}?{query}").status_code == 400


def test_a_cursor_that_is_no_cursor_is_an_error_in_the_one_shape(api, url):
    response = api.get(f"{url}?cursor=%00%ff")
    assert response.status_code in (400, 404)
    assert response.json().keys() == {"error", "details"}


def test_read_one(api, org, url):
    experiment = factories.make_experiment(org, inputs=1)
    shown = api.get(f"{url}/{experiment.pk}").json()["experiment"]
    assert (shown["id"], len(shown["inputs"])) == (str(experiment.pk), 1)


def test_patch_changes_what_is_given_and_leaves_the_rest(api, org, url):
    experiment = factories.make_experiment(org)
    Experiment.objects.filter(pk=experiment.pk).update(description="old", metadata={"a": 1})
    response = api.patch(f"{url}/{experiment.pk}", {"description": "new"}, format="json")
    assert response.status_code == 200
    experiment.refresh_from_db()
    assert (experiment.name, experiment.description, experiment.metadata) == ("Tone", "new", {"a": 1})
    event = AuditEvent.objects.get(event="experiment.updated")
    assert (event.before, event.after) == ({"description": "old"}, {"description": "new"})


def test_patch_without_a_difference_writes_nothing(api, org, url):
    experiment = factories.make_experiment(org)
    assert api.patch(f"{url}/{experiment.pk}", {"name": "Tone"}, format="json").status_code == 200
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("body", [{"name": None}, {"name": ""}, {"id": "x"}, {"metadata": None}])
def test_bad_patch_is_400(api, org, url, body):
    experiment = factories.make_experiment(org)
    response = api.patch(f"{url}/{experiment.pk}", body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, list(body))


def test_delete_takes_everything_along_and_is_noted(api, org, url):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    run = factories.make_run(experiment)
    type(run.batch).objects.update(finished_at=run.created_at)
    assert api.delete(f"{url}/{experiment.pk}").status_code == 204
    assert not ExperimentRun.objects.exists()
    event = AuditEvent.objects.get(event="experiment.deleted")
    assert (event.object_id, event.before) == (str(experiment.pk), {"name": "Tone", "runs": 1})


def test_an_experiment_with_a_batch_under_way_is_not_deleted(api, org, url):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    factories.make_run(experiment, state="queued")
    response = api.delete(f"{url}/{experiment.pk}")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    assert Experiment.objects.exists()
