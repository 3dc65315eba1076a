"""Each change that the admin offers makes exactly its event. What is not in the tables fails."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.db import DatabaseError, models
from django.test import Client, RequestFactory
from django.urls import reverse

from evalsuite.audit import services
from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Membership, Org, User
from evalsuite.quotas.models import OrgLimits
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    Evaluator,
    Experiment,
    ExperimentInput,
    ExperimentVariant,
)
from llm_routing.models import ChatProfile, Endpoint, ModelDefault, Provider, RegisteredModel
from tests import factories
from tests.admin.helpers import OURS
from tests.audit.events import forget_events, names_of_events
from tests.audit.world import build, changed, contents, open_batch
from tests.fuzz.providing import ProviderForAll

PASSWORD = {"password1": "another-good-horse-9", "password2": "another-good-horse-9"}
# What is filled in on the page for a new row.
ADDED: dict[type[models.Model], Any] = {
    User: lambda w: {"username": "dora", "usable_password": "true", **PASSWORD},
    Org: lambda w: {"name": "New", "slug": "new"},
    Membership: lambda w: {"org": w.org_id, "user": w.newcomer.pk, "role": "rater"},
    OrgLimits: lambda w: {"org": w.org_id, "cells_per_batch": 7},
    Provider: lambda w: {"org": w.org_id, "name": "N", "slug": "n", "kind": "ollama"},
    Endpoint: lambda w: {"provider": w.provider_id, "base_url": "http://127.0.0.1:10", "slots": 1},
    RegisteredModel: lambda w: {"provider": w.provider_id, "name": "other:1b"},
    ModelDefault: lambda w: {"org": w.org_id, "model": w.model_id},
    ChatProfile: lambda w: {
        "org": w.org_id, "name": "N", "model_provider": "own", "model_name": "tiny:1b"
    },
    Experiment: lambda w: {"org": w.org_id, "name": "N"},
    ExperimentVariant: lambda w: {"experiment": w.experiment_id, "name": "N"},
    ExperimentInput: lambda w: {"experiment": w.experiment_id, "key": "n", "content": "n"},
    EvalMetricDefinition: lambda w: {"org": w.org_id, "key": "n", "name": "N"},
    Evaluator: lambda w: {
        "experiment": w.experiment_id, "name": "N", "kind": "exact_match", "metric": w.metric_id
    },
}  # fmt: skip
# What is written over in the page of a row, and the row.
CHANGED: dict[type[models.Model], Any] = {
    User: (lambda w: w.bob, {"first_name": "Bob"}),
    Org: (lambda w: w.org, {"name": "Another"}),
    Membership: (lambda w: w.bob.memberships.get(), {"role": "editor"}),
    OrgLimits: (lambda w: OrgLimits.objects.create(org=w.org), {"cells_per_batch": 9}),
    Provider: (lambda w: w.model.provider, {"name": "Another"}),
    Endpoint: (lambda w: w.model.provider.endpoints.get(), {"slots": 9}),
    RegisteredModel: (lambda w: w.model, {"num_ctx": 512}),
    ModelDefault: (lambda w: default_of(w), lambda w: {"model": other_model(w).pk}),
    ChatProfile: (lambda w: w.profile, {"temperature": "0.1"}),
    Experiment: (lambda w: w.experiment, {"name": "Another"}),
    ExperimentVariant: (lambda w: w.experiment.variants.first(), {"name": "Another"}),
    ExperimentInput: (lambda w: w.experiment.inputs.first(), {"content": "Another"}),
    EvalMetricDefinition: (lambda w: EvalMetricDefinition.objects.get(pk=w.metric_id), {"name": "Another"}),
    Evaluator: (lambda w: w.evaluator, {"name": "Another"}),
}
# Rows that may go where the one above may not; and events of services that the admin calls.
REMOVED: dict[type[models.Model], Any] = {
    Org: lambda w: factories.make_org("To go"),
    ExperimentVariant: lambda w: ExperimentVariant.objects.get(pk=w.variant_id),
    ExperimentInput: lambda w: ExperimentInput.objects.get(pk=w.input_id),
}
REMOVAL = {
    Membership: "org.member.removed",
    Experiment: "experiment.deleted",
    ChatProfile: "chat_profile.deleted",
}
TAGS = lambda w: {"asked": "1", "add": "hard, legal"}  # noqa: E731
# (model, action) -> its events, the row that it is done to, and what the page in between asks for.
ACTIONS: dict[tuple[type[models.Model], str], Any] = {
    (Provider, "synchronise"): (["provider.synced"], lambda w: w.model.provider),
    (Experiment, "run"): (["experiment.run.started"], lambda w: w.experiment),
    (Experiment, "duplicate"): (
        ["experiment.created", *["experiment.variant.created"] * 2, "experiment.inputs.created",
         "experiment.evaluator.created"],
        lambda w: w.experiment,
    ),
    (Batch, "cancel"): (["experiment.batch.cancelled"], lambda w: batch(w)),
    (Batch, "retry_failed"): (["experiment.batch.retried"], lambda w: batch(w, cell="failed")),
    (Experiment, "edit_tags"): (["experiment.updated"], lambda w: w.experiment, TAGS),
    (ExperimentInput, "edit_tags"): (
        ["experiment.input.updated"], lambda w: w.experiment.inputs.first(), TAGS
    ),
    (EvalMetricDefinition, "merge"): (
        ["experiment.evaluator.updated", "experiment.metric.deleted", "experiment.metric.merged"],
        lambda w: w.score.metric,
        lambda w: {"asked": "1", "survivor": w.metric_id, "_selected_action": [w.metric_id]},
    ),
}  # fmt: skip
# Addresses beyond list, add, change, delete and history; each has a test below, or only tells.
OTHER_PAGES = {
    "auth_user_password_change",
    "experiments_experimentinput_import",
    "experiments_experimentinput_process_import",
    "experiments_experimentinput_export",  # only tells
}
USUAL = ("changelist", "add", "history", "delete", "change")


def default_of(world):
    factories.set_default_model(world.org, world.model)
    return ModelDefault.objects.get(org=world.org)


def other_model(world):
    return RegisteredModel.objects.get_or_create(provider=world.model.provider, name="other:1b")[0]


def batch(world, **how):
    return Batch.objects.get(pk=open_batch(world, **how)["batch_id"])


@pytest.fixture
def server():
    with ProviderForAll() as running:
        yield running


@pytest.fixture
def world(org, alice, server, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    made = build(org, alice, server.url)
    made.root = factories.make_user("root", is_staff=True, is_superuser=True)
    made.client = Client(raise_request_exception=False)
    made.client.force_login(made.root)
    forget_events()
    return made


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def filled(response):
    """What a browser would send from this page, if nothing was typed."""
    shown = [response.context["adminform"].form]
    for inline in response.context["inline_admin_formsets"]:
        shown += [inline.formset.management_form, *inline.formset.forms]
    return {name: value for form in shown for field in form for name, value in _sent(field)}


def _sent(field):
    value = field.value()
    if isinstance(field.field.widget, forms.MultiWidget):
        parts = field.field.widget.decompress(value)
        yield from ((f"{field.html_name}_{at}", str(part)) for at, part in enumerate(parts) if part)
    elif isinstance(value, list | tuple):
        yield field.html_name, [str(getattr(one, "pk", one)) for one in value]
    elif value is not None and value is not False:
        yield field.html_name, "on" if value is True else value


def ours():
    return [model for model in admin.site._registry if model._meta.app_label in OURS]


def may(model, verb):
    request = RequestFactory().get("/")
    request.user = User(is_active=True, is_staff=True, is_superuser=True)
    return getattr(admin.site._registry[model], f"has_{verb}_permission")(request)


def test_every_change_that_the_admin_offers_is_in_a_table():
    request = RequestFactory().get("/")
    request.user = User(is_active=True, is_staff=True, is_superuser=True)
    assert {model for model in ours() if may(model, "add")} == set(ADDED)
    assert {model for model in ours() if may(model, "change")} == set(CHANGED)
    assert {model for model in ours() if may(model, "delete")} == set(CHANGED)
    actions = {(model, name) for model in ours() for name in admin.site._registry[model].get_actions(request)}
    usual = {"delete_selected", "export_admin_action"}
    assert {(model, name) for model, name in actions if name not in usual} == set(ACTIONS)


def test_every_page_of_the_admin_is_known():
    usual = {f"{m._meta.app_label}_{m._meta.model_name}_{page}" for m in ours() for page in USUAL}
    names = {entry.name for model in ours() for entry in admin.site._registry[model].urls if entry.name}
    assert names - usual == OTHER_PAGES


def test_what_the_admin_shows_of_packages_cannot_be_changed_there():
    assert [model for model in admin.site._registry if model not in ours()] == []


def require_one_transaction(world, monkeypatch, send):
    """Where the event cannot be written, nothing is changed."""
    before = contents()
    with monkeypatch.context() as patch:
        patch.setattr(services, "insert_rows", _refuse)
        assert send().status_code == 500
    assert (names_of_events(), changed(before, contents())) == ([], set())


def _refuse(*_):
    raise DatabaseError("the event cannot be written")


def require_events(world, names):
    assert names_of_events() == names
    for event in AuditEvent.objects.all():
        assert (event.actor_name, event.address) == ("root", "127.0.0.1")
        assert event.object_id not in {"", "None"}
        assert event.request_id


@pytest.mark.parametrize("model", ADDED, ids=lambda model: model.__name__)
def test_a_new_row(world, model, monkeypatch):
    page = url(model, "add")
    empty = filled(world.client.get(page))
    refused = world.client.post(page, {"_save": "1"})
    assert (refused.status_code, names_of_events()) == (200, [])
    data = {**empty, **ADDED[model](world), "_save": "1"}
    require_one_transaction(world, monkeypatch, lambda: world.client.post(page, data))
    answer = world.client.post(page, data)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    require_events(world, [f"admin.{model._meta.model_name}.created"])
    event = AuditEvent.objects.get()
    assert event.after
    assert event.before is None


@pytest.mark.parametrize("model", CHANGED, ids=lambda model: model.__name__)
def test_a_changed_row(world, model, monkeypatch):
    row_of, over = CHANGED[model]
    row = row_of(world)
    over = over(world) if callable(over) else over
    page = url(model, "change", row.pk)
    shown = filled(world.client.get(page))
    [name] = over
    before = contents()
    assert world.client.post(page, {**shown, "_save": "1"}).status_code == 302
    assert not names_of_events() or changed(before, contents())  # a page has times without their fractions
    forget_events()
    data = {**shown, **over, "_save": "1"}
    require_one_transaction(world, monkeypatch, lambda: world.client.post(page, data))
    assert world.client.post(page, data).status_code == 302
    require_events(world, [f"admin.{model._meta.model_name}.changed"])
    event = AuditEvent.objects.get()
    assert event.object_id == str(row.pk)
    told = [str(value) for value in event.after.values()]
    assert str(over[name]) in told
    assert event.before.keys() == event.after.keys()
    assert event.before != event.after


@pytest.mark.parametrize("by_action", [False, True], ids=["page", "action"])
@pytest.mark.parametrize("model", CHANGED, ids=lambda model: model.__name__)
def test_a_deleted_row(world, model, by_action, monkeypatch):
    row = REMOVED.get(model, CHANGED[model][0])(world)
    pk = row.pk

    def send():
        if not by_action:
            return world.client.post(url(model, "delete", pk), {"post": "yes"})
        chosen = {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"}
        return world.client.post(url(model, "changelist"), chosen)

    require_one_transaction(world, monkeypatch, send)
    assert send().status_code == 302
    assert not model._default_manager.filter(pk=pk).exists()
    require_events(world, [REMOVAL.get(model, f"admin.{model._meta.model_name}.deleted")])
    event = AuditEvent.objects.get()
    assert event.object_id == str(pk)
    assert event.before


@pytest.mark.parametrize(("model", "action"), ACTIONS, ids=str)
def test_an_action(world, model, action, monkeypatch):
    events, row_of, *asks = ACTIONS[model, action]
    chosen = {"action": action, "_selected_action": [str(row_of(world).pk)]}
    for ask in asks:
        first = world.client.post(url(model, "changelist"), chosen)  # asks, and does nothing yet
        assert (first.status_code, names_of_events()) == (200, [])
        answers = ask(world)
        chosen["_selected_action"] += map(str, answers.pop("_selected_action", []))
        chosen |= answers

    def send():
        return world.client.post(url(model, "changelist"), chosen)

    require_one_transaction(world, monkeypatch, send)
    assert send().status_code in {200, 302}
    require_events(world, events)


def test_a_password_that_the_operator_sets(world, monkeypatch):
    page = reverse("admin:auth_user_password_change", args=[world.bob.pk])
    data = {"usable_password": "true", **PASSWORD}
    assert world.client.post(page, {**data, "password2": "x"}).status_code == 200
    assert names_of_events() == []
    require_one_transaction(world, monkeypatch, lambda: world.client.post(page, data))
    assert world.client.post(page, data).status_code == 302
    require_events(world, ["admin.user.changed"])
    assert AuditEvent.objects.get().after == {"password": "(a secret)"}


def test_rows_beside_the_row_of_the_page(world):
    """One event for each that is new, changed or gone, with what it was."""
    page = url(Org, "change", world.org_id)
    shown = filled(world.client.get(page))
    at = next(name for name, value in shown.items() if str(value) == str(world.member_id)).removesuffix("-id")
    new = int(shown["memberships-TOTAL_FORMS"])
    added = {
        f"memberships-{new}-user": world.newcomer.pk,
        f"memberships-{new}-role": "rater",
        f"memberships-{new}-org": world.org_id,
        "memberships-TOTAL_FORMS": new + 1,
    }
    assert world.client.post(page, {**shown, **added, f"{at}-role": "editor"}).status_code == 302
    require_events(world, ["admin.membership.created", "admin.membership.changed"])
    told = AuditEvent.objects.order_by("id").last()
    assert (told.before, told.after) == ({"role": "viewer"}, {"role": "editor"})
    forget_events()
    assert world.client.post(page, {**shown, f"{at}-DELETE": "on"}).status_code == 302
    require_events(world, ["admin.membership.deleted"])
    gone = AuditEvent.objects.get()
    assert (gone.object_id, gone.before["role"]) == (str(world.member_id), "editor")


def test_who_may_use_a_model(world):
    """The rows on the other side of a many-to-many field are in the event."""
    page = url(RegisteredModel, "change", world.model_id)
    shown = filled(world.client.get(page))
    assert world.client.post(page, {**shown, "allowed_orgs": [str(world.org_id)]}).status_code == 302
    require_events(world, ["admin.registeredmodel.changed"])
    event = AuditEvent.objects.get()
    assert (event.before, event.after) == ({"allowed_orgs": []}, {"allowed_orgs": [str(world.org_id)]})
