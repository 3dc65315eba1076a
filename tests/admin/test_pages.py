from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from evalsuite.ids import new_id
from evalsuite.orgs.models import Org
from experiments.models import EvalScore, Experiment, ExperimentRun, RunAttempt
from tests import factories
from tests.admin.helpers import (
    KEY,
    OURS,
    PAGES,
    READ_ONLY,
    fill,
    url,
)


def test_every_model_of_ours_has_a_page():
    from django.apps import apps

    models = {model for app in OURS for model in apps.get_app_config(app).get_models()}
    without = {model.__name__ for model in models - set(PAGES)}
    # Bookkeeping of the moment that nobody reads or edits; and keys, which have their page in the console.
    assert without <= {
        "ApiKey",
        "EndpointRecord",
        "SweepTurn",
        "GateState",
        "PlaygroundMinute",
        "UsageSum",
        "ExperimentUsage",
        "IdempotencyKey",
        "PendingEvent",
        "AuditSeal",
    }


@pytest.mark.parametrize("model", PAGES, ids=lambda model: model.__name__)
def test_list_change_and_add_pages_open_and_never_show_a_key(model, root, experiment):
    row = model._default_manager.first()
    pages = [url(model, "changelist"), url(model, "changelist") + "?q=a", url(model, "change", row.pk)]
    if model not in READ_ONLY:
        pages.append(url(model, "add"))
    for page in pages:
        answer = root.get(page)
        assert answer.status_code == 200, page
        assert KEY not in answer.content.decode()


def test_pages_ask_no_other_host_for_anything(root, experiment):
    text = root.get(url(Experiment, "changelist")).content.decode()
    assert not re.findall(r'(?:src|srcset)="(?:https?:)?//[^"]*"', text)
    assert not re.findall(r'<link[^>]+href="(?:https?:)?//[^"]*"', text)
    assert "Chat profiles" in text


@pytest.mark.parametrize(
    "model", sorted(READ_ONLY, key=lambda model: model.__name__), ids=lambda m: m.__name__
)
def test_what_the_product_wrote_cannot_be_changed_here(model, root, experiment):
    row = model._default_manager.first()
    assert root.get(url(model, "add")).status_code == 403
    assert root.post(url(model, "change", row.pk), {}).status_code == 403
    assert root.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=row.pk).exists()


def queries(client, page):
    with CaptureQueriesContext(connection) as context:
        assert client.get(page).status_code == 200
    return len(context)


@pytest.mark.parametrize("role", [None, "owner"])
def test_lists_cost_the_same_queries_for_more_rows(role, client, org, experiment, alice):
    rights = {"is_superuser": True} if role is None else {"org": org, "role": role}
    client.force_login(factories.make_user("sam", is_staff=True, **rights))
    client.get(reverse("admin:index"))  # content types are read once
    before = {model: queries(client, url(model, "changelist")) for model in PAGES}
    for number in range(3):
        fill(org, factories.make_user(f"new{number}", org=org), suffix=f"-{number}")
    after = {model: queries(client, url(model, "changelist")) for model in PAGES}
    assert after == before


def test_pages_with_rows_in_them_cost_the_same_queries_for_more_of_them(root, org, experiment):
    pages = [url(Org, "change", org.pk), url(ExperimentRun, "change", experiment.runs.get().pk)]
    before = [queries(root, page) for page in pages]
    run = experiment.runs.get()
    for number in range(3):
        user = factories.make_user(f"new{number}", org=org)
        EvalScore.objects.create(run=run, metric=org.metrics.get(), value=1, rater=user)
        RunAttempt.objects.create(id=new_id(), run=run, number=number + 2, started_at=timezone.now())
    after = [queries(root, page) for page in pages]
    assert after[1] <= before[1]
    assert after[0] - before[0] <= 3  # each membership's select reads the name of its one person
