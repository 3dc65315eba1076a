"""Curating in the admin: tags in bulk, metrics that become one, history, and the way to the console."""

from __future__ import annotations

import pytest
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    EvalScore,
    Evaluation,
    Experiment,
    ExperimentInput,
    ExperimentRun,
)
from llm_routing.models import ChatProfile, Provider
from tests import factories
from tests.admin.helpers import act, messages_of, url


def choose(client, model, action, *rows, **answers):
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows], **answers}
    return client.post(url(model, "changelist"), data, follow=True)


def test_tags_are_added_and_removed_over_many_rows(signed_in, experiment):
    client = signed_in("editor")
    first, second = experiment.inputs.order_by("id")
    ExperimentInput.objects.filter(pk=first.pk).update(metadata={"tags": ["old", "hard"], "page": 3})
    question = act(client, ExperimentInput, "edit_tags", first, second).content.decode()
    assert "Edit tags" in question
    assert first.key in question
    answers = {"asked": "1", "add": " new ,hard,  two  words", "remove": "old"}
    answer = choose(client, ExperimentInput, "edit_tags", first, second, **answers)
    assert messages_of(answer) == ["2 inputs changed."]
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.metadata == {"page": 3, "tags": ["hard", "new", "two words"]}
    assert second.metadata == {"tags": ["new", "hard", "two words"]}
    told = AuditEvent.objects.filter(event="experiment.input.updated").order_by("object_id")
    assert told.count() == 2
    assert told.get(object_id=str(first.pk)).before == {"metadata": {"tags": ["old", "hard"], "page": 3}}
    again = choose(client, ExperimentInput, "edit_tags", first, asked="1", add="new")
    assert messages_of(again) == ["0 inputs changed."]
    assert told.count() == 2
    page = client.get(url(ExperimentInput, "changelist"), {"q": "two words"})
    assert {row.pk for row in page.context["cl"].result_list} == {first.pk, second.pk}
    assert "hard, new, two words" in page.content.decode()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({}, "Name a tag to add or to remove."),
        ({"add": "a, b", "remove": "b"}, "b: add it or remove it?"),
        ({"add": "x" * 65}, "A tag has at most 64 characters"),
        ({"add": ",".join(map(str, range(51)))}, "51 tags; 50 are the most"),
        ({"add": "a\0b"}, "null characters"),
    ],
)
def test_what_is_wrong_with_tags_is_said_and_nothing_changes(signed_in, experiment, answers, reason):
    answer = choose(signed_in("editor"), Experiment, "edit_tags", experiment, asked="1", **answers)
    assert reason.casefold() in answer.content.decode().casefold()
    experiment.refresh_from_db()
    assert experiment.metadata == {}


def test_metadata_that_has_something_else_there_stops_all_of_it(signed_in, experiment):
    first, second = experiment.inputs.order_by("id")
    ExperimentInput.objects.filter(pk=second.pk).update(metadata={"tags": "one, two"})
    answer = choose(signed_in("editor"), ExperimentInput, "edit_tags", first, second, asked="1", add="new")
    assert f"{second.key}: its metadata has something else" in answer.content.decode()
    first.refresh_from_db()
    assert first.metadata == {}


def test_metrics_are_merged_after_the_survivor_was_chosen(signed_in, org, experiment, alice):
    client = signed_in("editor")
    twin = factories.make_metric(org, "correctnes")
    metric = EvalMetricDefinition.objects.get(org=org, key="correctness")
    question = act(client, EvalMetricDefinition, "merge", metric, twin).content.decode()
    assert "The one that stays" in question
    assert EvalMetricDefinition.objects.filter(org=org).count() == 2
    lone = choose(client, EvalMetricDefinition, "merge", metric, asked="1", survivor=metric.pk)
    assert "Choose at least two metrics" in lone.content.decode()
    busy = choose(client, EvalMetricDefinition, "merge", metric, twin, asked="1", survivor=twin.pk)
    assert "is under way" in busy.content.decode()
    Evaluation.objects.update(state="done")
    Batch.objects.update(finished_at=timezone.now())
    answer = choose(client, EvalMetricDefinition, "merge", metric, twin, asked="1", survivor=twin.pk)
    assert messages_of(answer) == ["correctnes: 1 scores and 1 evaluators moved, 0 older scores gone."]
    assert EvalMetricDefinition.objects.get(org=org) == twin
    assert EvalScore.objects.get().metric == twin


@pytest.mark.parametrize("action", ["edit_tags", "merge"])
def test_rows_of_another_org_are_out_of_reach(signed_in, org, experiment, foreign, action):
    client = signed_in("owner")
    model = Experiment if action == "edit_tags" else EvalMetricDefinition
    own, theirs = (model.objects.filter(org=one.org).first() for one in (experiment, foreign))
    answers = {"asked": "1", "add": "x", "survivor": own.pk}
    text = choose(client, model, action, own, theirs, **answers).content.decode()
    assert foreign.org.name not in text
    theirs.refresh_from_db()
    assert getattr(theirs, "metadata", {}) == {}
    answers["survivor"] = theirs.pk
    choose(client, model, action, theirs, **answers)
    assert model.objects.filter(pk=theirs.pk, org=foreign.org).exists()


@pytest.mark.parametrize("action", ["edit_tags", "merge"])
def test_who_may_only_read_in_one_org_changes_nothing_there(client, org, experiment, foreign, action):
    """A person who writes in one org and reads in another is asked for each row."""
    user = factories.make_user("sam", org=org, role="editor", is_staff=True)
    factories.Membership.objects.create(org=foreign.org, user=user, role="viewer")
    client.force_login(user)
    model = Experiment if action == "edit_tags" else EvalMetricDefinition
    own, theirs = (model.objects.filter(org=one.org).first() for one in (experiment, foreign))
    answers = {"asked": "1", "add": "x", "survivor": own.pk}
    assert choose(client, model, action, own, theirs, **answers).status_code == 403
    assert model.objects.filter(pk__in=[own.pk, theirs.pk]).count() == 2
    assert not AuditEvent.objects.filter(
        event__in=["experiment.updated", "experiment.metric.merged"]
    ).exists()


def test_the_history_tells_what_other_doors_did_to_readers_of_the_audit_log(signed_in, experiment, api):
    path = f"/api/v1/orgs/{experiment.org_id}/experiments/{experiment.pk}"
    api.patch(path, {"name": "<b>Another</b>"}, format="json")
    page = url(Experiment, "history", experiment.pk)
    text = signed_in("owner").get(page).content.decode()
    assert "experiment.updated" in text
    assert "&lt;b&gt;Another&lt;/b&gt;" in text
    text = signed_in("viewer").get(page).content.decode()
    assert "experiment.updated" not in text
    assert "before:" not in text


def test_what_has_a_console_page_leads_to_it(signed_in, experiment):
    client = signed_in("owner")
    for model in (Experiment, ExperimentInput, ExperimentRun, EvalMetricDefinition, ChatProfile, Provider):
        row = model.objects.first()
        page = client.get(url(model, "change", row.pk))
        address = page.context["absolute_url"]
        assert address.startswith(f"/app/orgs/{experiment.org_id}/")
        assert f'href="{address}"' in page.content.decode()
        assert client.get(address).status_code == 200
    shared = factories.make_model("shared:1b")
    assert client.get(url(type(shared), "change", shared.pk)).context["absolute_url"] is None
