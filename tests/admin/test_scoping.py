from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import User
from experiments.models import Batch, Experiment, ExperimentInput
from llm_routing.models import ChatProfile, Provider, RegisteredModel
from tests import factories
from tests.admin.helpers import (
    PAGES,
    act,
    new_experiment,
    provider_form,
    url,
)


def test_staff_see_rows_of_their_own_org_only(signed_in, experiment, foreign):
    client = signed_in("owner")
    text = client.get(url(Experiment, "changelist")).content.decode()
    assert experiment.name in text
    assert foreign.name not in text
    assert client.get(url(Experiment, "change", experiment.pk)).status_code == 200
    assert client.get(url(Experiment, "change", foreign.pk)).status_code == 404
    assert client.post(url(Experiment, "delete", foreign.pk), {"post": "yes"}).status_code == 404
    assert Experiment.objects.filter(pk=foreign.pk).exists()


@pytest.mark.parametrize("model", [m for m in PAGES if m not in (User,)], ids=lambda model: model.__name__)
def test_no_page_lists_a_row_of_another_org(model, signed_in, experiment, foreign, rf):
    client = signed_in("owner")
    answer = client.get(url(model, "changelist"))
    assert answer.status_code == 200
    page = admin.site._registry[model]
    other = foreign.org
    theirs = page.rows_of(model._default_manager.all(), [other.pk])
    shown = {row.pk for row in answer.context["cl"].result_list}
    assert shown
    assert not shown & set(theirs.values_list("pk", flat=True))
    for row in theirs[:1]:
        assert client.get(url(model, "change", row.pk)).status_code == 404


def test_a_viewer_reads_and_writes_nothing(signed_in, experiment):
    client = signed_in("viewer")
    assert client.get(url(Experiment, "change", experiment.pk)).status_code == 200
    assert client.post(url(Experiment, "change", experiment.pk), {"name": "X"}).status_code == 403
    assert client.get(url(Experiment, "add")).status_code == 403
    assert client.get(url(Provider, "changelist")).status_code == 403
    assert client.get(url(AuditEvent, "changelist")).status_code == 403


def test_who_is_no_staff_is_sent_to_sign_in(client, alice, experiment):
    client.force_login(alice)
    assert client.get(url(Experiment, "changelist")).status_code == 302


def test_a_row_cannot_be_made_in_another_org(signed_in, org, foreign):
    client = signed_in("owner")
    answer = client.post(url(Experiment, "add"), new_experiment(foreign.org))
    assert answer.status_code == 200
    assert not Experiment.objects.filter(name="New").exists()
    assert client.post(url(Experiment, "add"), new_experiment(org)).status_code == 302
    made = Experiment.objects.get(name="New")
    assert (made.metadata, made.created_by.username) == ({}, "sam-owner")
    event = AuditEvent.objects.get(event="admin.experiment.created")
    assert (event.org, event.actor_name, event.object_id) == (org, "sam-owner", str(made.pk))
    assert event.after["name"] == "New"


def test_a_row_refers_to_rows_of_its_own_org_only(root, experiment, foreign):
    variant = experiment.variants.first()
    data = {"experiment": str(experiment.pk), "name": "V", "config": "{}"}
    theirs = ChatProfile.objects.get(org=foreign.org)
    page = url(type(variant), "change", variant.pk)
    answer = root.post(page, {**data, "chat_profile": str(theirs.pk)})
    assert "This belongs to another organisation." in answer.content.decode()
    mine = ChatProfile.objects.get(org=experiment.org)
    assert root.post(page, {**data, "chat_profile": str(mine.pk)}).status_code == 302


def test_autocomplete_offers_rows_of_ones_own_orgs(signed_in, experiment, foreign):
    client = signed_in("owner")
    data = {"app_label": "experiments", "model_name": "experimentvariant", "field_name": "experiment"}
    found = client.get(reverse("admin:autocomplete"), data).json()["results"]
    assert [row["id"] for row in found] == [str(experiment.pk)]


def test_staff_cannot_make_a_provider_for_all_orgs(signed_in, experiment):
    client = signed_in("admin")
    provider = Provider.objects.get()
    answer = client.post(url(Provider, "change", provider.pk), provider_form(provider, org=""))
    assert "Choose an organisation" in answer.content.decode()


def test_a_viewer_may_not_run(signed_in, experiment):
    client = signed_in("viewer")
    act(client, Experiment, "run", experiment)
    assert Batch.objects.count() == 1


def test_a_shared_model_may_be_seen_by_staff_and_not_changed(signed_in, experiment):
    shared = factories.make_model("shared:1b")
    client = signed_in("owner")
    assert "shared:1b" in client.get(url(RegisteredModel, "changelist")).content.decode()
    page = url(RegisteredModel, "change", shared.pk)
    assert client.get(page).status_code == 200
    assert client.post(page, {"name": "x"}).status_code == 403


def test_an_experiment_is_made_with_its_variants(signed_in, org):
    client = signed_in("editor")
    variant = {"variants-TOTAL_FORMS": "1", "variants-0-name": "A", "variants-0-config": ""}
    assert client.post(url(Experiment, "add"), new_experiment(org, **variant)).status_code == 302
    made = Experiment.objects.get().variants.get()
    assert (made.name, made.config) == ("A", {})
    assert AuditEvent.objects.filter(event="admin.experimentvariant.created", object_id=str(made.pk)).exists()


def test_a_shared_model_tells_staff_nothing_of_other_orgs(signed_in, experiment, foreign):
    shared, closed = factories.make_model("shared:1b"), factories.make_model("closed:1b", open_to_all=False)
    for model in (shared, closed):
        model.allowed_orgs.add(foreign.org)
    client = signed_in("owner")
    assert foreign.org.name not in client.get(url(RegisteredModel, "change", shared.pk)).content.decode()
    assert "closed:1b" not in client.get(url(RegisteredModel, "changelist")).content.decode()
    assert client.get(url(RegisteredModel, "change", closed.pk)).status_code == 404
    closed.allowed_orgs.add(experiment.org)
    assert client.get(url(RegisteredModel, "change", closed.pk)).status_code == 200


def test_a_filter_shows_no_row_of_another_org(signed_in, experiment, foreign):
    client = signed_in("owner")
    answer = client.get(url(ExperimentInput, "changelist") + f"?experiment__id__exact={foreign.pk}")
    assert list(answer.context["cl"].result_list) == []
    assert foreign.name not in answer.content.decode()
