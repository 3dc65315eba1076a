from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.urls import reverse
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from evalsuite.audit.services import record
from evalsuite.ids import new_id
from evalsuite.orgs.models import Membership, Org, User
from evalsuite.quotas.models import UsageCounter, UsageRecord
from experiments.models import Batch, EvalScore, Evaluator, Experiment, ExperimentRun, RunAttempt
from llm_routing import registry
from llm_routing.models import ChatProfile, Endpoint, Provider, RegisteredModel, SlotLease
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories

OURS = ["orgs", "audit", "quotas", "llm_routing", "playground", "experiments"]
PAGES = [model for model in admin.site._registry if model._meta.app_label in OURS]
READ_ONLY = {
    ExperimentRun,
    RunAttempt,
    Batch,
    PlaygroundSession,
    PlaygroundMessage,
    AuditEvent,
    UsageRecord,
    UsageCounter,
    SlotLease,
    EvalScore,
}
KEY = "sk-very-secret"


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def fill(org, user):
    """At least one row of everything, in one org."""
    model = factories.make_model(slug=f"own-{org.slug}", org=org)
    factories.set_default_model(org, model)
    Provider.objects.filter(pk=model.provider_id).update(api_key=KEY)
    Provider.objects.get(pk=model.provider_id)
    SlotLease.objects.create(endpoint=model.provider.endpoints.get(), number=1)
    ChatProfile.objects.create(org=org, name="P", model_provider="ollama", model_name="tiny:1b")
    experiment = factories.make_experiment(org, inputs=2, variants=2, name=f"Of {org.name}", user=user)
    run = factories.make_run(experiment)
    RunAttempt.objects.create(id=new_id(), run=run, number=1, started_at=timezone.now())
    metric = factories.make_metric(org)
    Evaluator.objects.create(experiment=experiment, metric=metric, kind="exact_match", name="E")
    EvalScore.objects.create(run=run, metric=metric, value=1, rater=user)
    session = PlaygroundSession.objects.create(
        org=org, user=user, model_provider="ollama", model_name="tiny:1b", temperature=0.7, top_p=1
    )
    PlaygroundMessage.objects.create(session=session, role="user", content="hello")
    UsageRecord.objects.create(
        org=org, attempt=new_id(), kind="experiment", model_provider="ollama", model_name="m"
    )
    UsageCounter.objects.create(org=org, day=timezone.now().date())
    record("test.happened", org=org, actor=user, subject=org)
    return experiment


@pytest.fixture
def experiment(org, alice):
    return fill(org, alice)


@pytest.fixture
def foreign(charlie):
    return fill(charlie.memberships.get().org, charlie)


@pytest.fixture
def root(client, db):
    client.force_login(factories.make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def signed_in(client, org):
    def sign_in(role):
        client.force_login(factories.make_user(f"sam-{role}", org=org, role=role, is_staff=True))
        return client

    return sign_in


def messages_of(answer):
    return [str(message) for message in answer.context["messages"]]


def act(client, model, action, *rows):
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(url(model, "changelist"), data, follow=True)


def provider_form(provider, **fields):
    endpoint = provider.endpoints.get()
    return {
        "org": str(provider.org_id or ""),
        "slug": provider.slug,
        "name": provider.name,
        "kind": provider.kind,
        "enabled": "on",
        "connect_timeout": "3",
        "first_token_timeout": "120",
        "idle_timeout": "30",
        "total_timeout": "300",
        "endpoints-TOTAL_FORMS": "1",
        "endpoints-INITIAL_FORMS": "1",
        "endpoints-0-id": str(endpoint.pk),
        "endpoints-0-provider": str(provider.pk),
        "endpoints-0-base_url": endpoint.base_url,
        "endpoints-0-slots": "4",
        "endpoints-0-enabled": "on",
        **fields,
    }


def test_every_model_of_ours_has_a_page():
    from django.apps import apps

    models = {model for app in OURS for model in apps.get_app_config(app).get_models()}
    without = {model.__name__ for model in models - set(PAGES)}
    assert without <= {"SweepTurn"}


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


def test_staff_see_rows_of_their_own_org_only(signed_in, experiment, foreign):
    client = signed_in("owner")
    text = client.get(url(Experiment, "changelist")).content.decode()
    assert experiment.name in text
    assert foreign.name not in text
    assert client.get(url(Experiment, "change", experiment.pk)).status_code == 200
    assert client.get(url(Experiment, "change", foreign.pk)).status_code == 302
    assert client.post(url(Experiment, "delete", foreign.pk), {"post": "yes"}).status_code == 302
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
        assert client.get(url(model, "change", row.pk)).status_code == 302


def test_a_viewer_reads_and_writes_nothing(signed_in, experiment):
    client = signed_in("viewer")
    assert client.get(url(Experiment, "change", experiment.pk)).status_code == 200
    assert client.post(url(Experiment, "change", experiment.pk), {"name": "X"}).status_code == 403
    assert client.get(url(Experiment, "add")).status_code == 403
    assert client.get(url(Provider, "changelist")).status_code == 403
    assert client.get(url(AuditEvent, "changelist")).status_code == 403


def test_staff_have_no_access_to_people(signed_in, experiment, alice):
    client = signed_in("owner")
    for page in (url(User, "changelist"), url(User, "add"), url(User, "change", alice.pk)):
        assert client.get(page).status_code == 403


def test_who_is_no_staff_is_sent_to_sign_in(client, alice, experiment):
    client.force_login(alice)
    assert client.get(url(Experiment, "changelist")).status_code == 302


def new_experiment(org, **fields):
    inline = {"variants-TOTAL_FORMS": "0", "variants-INITIAL_FORMS": "0"}
    return {"org": str(org.pk), "name": "New", "type": "prompt_eval", "metadata": "", **inline, **fields}


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
    assert "name" in event.after["fields"]


def test_a_row_refers_to_rows_of_its_own_org_only(root, experiment, foreign):
    variant = experiment.variants.first()
    data = {"experiment": str(experiment.pk), "name": "V", "config": "{}"}
    theirs = ChatProfile.objects.get(org=foreign.org)
    page = url(type(variant), "change", variant.pk)
    answer = root.post(page, {**data, "chat_profile": str(theirs.pk)})
    assert "This belongs to another organisation." in answer.content.decode()
    mine = ChatProfile.objects.get(org=experiment.org)
    assert root.post(page, {**data, "chat_profile": str(mine.pk)}).status_code == 302


@pytest.mark.parametrize("config", ["[]", '{"temperature": 9}', '{"x": "\\u0000"}'])
def test_a_variants_config_is_checked(root, experiment, config):
    variant = experiment.variants.first()
    data = {"experiment": str(experiment.pk), "name": "V", "config": config}
    assert root.post(url(type(variant), "change", variant.pk), data).status_code == 200


def test_an_evaluators_settings_are_checked(root, experiment):
    row = experiment.evaluators.get()
    data = {"experiment": experiment.pk, "metric": row.metric_id, "kind": row.kind, "name": "E"}
    page = url(Evaluator, "change", row.pk)
    assert root.post(page, {**data, "config": '{"nonsense": 1}'}).status_code == 200
    assert root.post(page, {**data, "config": "{}"}).status_code == 302


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


def test_the_key_is_kept_replaced_and_cleared_and_told_nowhere(root, experiment):
    provider = Provider.objects.get()
    page = url(Provider, "change", provider.pk)

    def key_after(**fields):
        answer = root.post(page, provider_form(provider, **fields))
        assert answer.status_code == 302, answer.context["errors"]
        provider.refresh_from_db()
        return provider.api_key

    assert key_after() == KEY
    assert key_after(api_key="sk-new") == "sk-new"
    assert key_after(clear_key="on") == ""
    told = str(list(AuditEvent.objects.values_list("before", "after")))
    assert "api_key" in told
    assert "sk-" not in told


def test_a_changed_address_clears_the_key_unless_a_new_one_comes_along(root, experiment):
    provider = Provider.objects.get()
    page = url(Provider, "change", provider.pk)
    elsewhere = {"endpoints-0-base_url": "http://127.0.0.1:10/"}
    root.post(page, provider_form(provider, **elsewhere))
    provider.refresh_from_db()
    assert provider.api_key == ""
    root.post(
        page, provider_form(provider, api_key="sk-new", **{"endpoints-0-base_url": "http://127.0.0.1:11/"})
    )
    provider.refresh_from_db()
    assert provider.api_key == "sk-new"
    endpoint = provider.endpoints.get()
    data = {"provider": provider.pk, "base_url": "http://127.0.0.1:12/", "slots": 1, "enabled": "on"}
    assert root.post(url(Endpoint, "change", endpoint.pk), data).status_code == 302
    provider.refresh_from_db()
    assert provider.api_key == ""


def test_run_queues_a_batch_and_a_refusal_is_a_message(root, org, experiment):
    experiment.variants.update(config={"modelProvider": "none", "modelName": "none"})
    answer = act(root, Experiment, "run", experiment)
    assert "has no model none" in messages_of(answer)[0]
    experiment.variants.update(config={})
    answer = act(root, Experiment, "run", experiment)
    assert "4 cells queued." in messages_of(answer)[0]


def test_a_batch_is_cancelled_once(root, experiment):
    batch = Batch.objects.create(experiment=experiment, total=1)
    assert messages_of(act(root, Batch, "cancel", batch)) == [f"{batch}: cancelled."]
    batch.refresh_from_db()
    assert batch.state == Batch.State.CANCELLED
    assert "ended already" in messages_of(act(root, Batch, "cancel", batch))[0]


def test_failed_cells_are_queued_again(root, experiment):
    cell = factories.make_run(experiment, state="failed")
    assert "1 cells queued again." in messages_of(act(root, Batch, "retry_failed", cell.batch))[0]
    cell.refresh_from_db()
    assert cell.state == ExperimentRun.State.QUEUED
    assert "No cell of this batch has failed." in messages_of(act(root, Batch, "retry_failed", cell.batch))[0]


def test_a_viewer_may_not_run(signed_in, experiment):
    client = signed_in("viewer")
    act(client, Experiment, "run", experiment)
    assert Batch.objects.count() == 1


def test_synchronise_tells_what_happened_or_why_not(root, experiment, monkeypatch):
    provider = Provider.objects.get()
    answer = act(root, Provider, "synchronise", provider)  # nothing listens there
    assert answer.status_code == 200
    assert len(messages_of(answer)) == 1

    monkeypatch.setattr(registry, "sync_provider", lambda provider: registry.SyncResult(["a"], [], ["b"]))
    assert (
        "1 models added, 0 updated, 1 gone." in messages_of(act(root, Provider, "synchronise", provider))[0]
    )


def test_deleting_tells_the_audit_log(root, org):
    metric = factories.make_metric(org)
    assert root.post(url(type(metric), "delete", metric.pk), {"post": "yes"}).status_code == 302
    event = AuditEvent.objects.get(event="admin.evalmetricdefinition.deleted")
    assert (event.org, event.object_id) == (org, str(metric.pk))


def test_a_list_costs_the_same_queries_for_more_rows(root, org, experiment, django_assert_max_num_queries):
    for number in range(10):
        factories.make_experiment(org, name=f"E{number}")
    with django_assert_max_num_queries(10):
        assert root.get(url(Experiment, "changelist")).status_code == 200


def test_a_shared_model_may_be_seen_by_staff_and_not_changed(signed_in, experiment):
    shared = factories.make_model("shared:1b")
    client = signed_in("owner")
    assert "shared:1b" in client.get(url(RegisteredModel, "changelist")).content.decode()
    page = url(RegisteredModel, "change", shared.pk)
    assert client.get(page).status_code == 200
    assert client.post(page, {"name": "x"}).status_code == 403


def test_orgs_are_made_by_superusers_only(signed_in, org):
    client = signed_in("owner")
    assert client.get(url(Org, "add")).status_code == 403
    assert client.get(url(Org, "change", org.pk)).status_code == 200


def test_a_provider_is_made_with_its_endpoint_on_a_private_name(root, experiment):
    provider = Provider.objects.get()
    new = {
        "slug": "second",
        "endpoints-INITIAL_FORMS": "0",
        "endpoints-0-id": "",
        "endpoints-0-provider": "",
        "endpoints-0-base_url": "http://ollama:11434",
        "api_key": "sk-new",
    }
    answer = root.post(url(Provider, "add"), provider_form(provider, **new))
    assert answer.status_code == 302, answer.context["errors"]
    made = Provider.objects.get(slug="second")
    assert made.api_key == "sk-new"
    assert made.endpoints.get().base_url == "http://ollama:11434"


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "http://", "http://a b", "http://u:p@host", "http://h:99999", "ollama:11434", "http://[x"],
)
def test_an_endpoints_address_is_checked(root, experiment, address):
    provider = Provider.objects.get()
    data = {"provider": provider.pk, "base_url": address, "slots": 1}
    assert root.post(url(Endpoint, "add"), data).status_code == 200
    assert provider.endpoints.count() == 1


def test_an_address_is_taken_once(root, experiment):
    provider = Provider.objects.get()
    endpoint = provider.endpoints.get()
    data = {"provider": provider.pk, "base_url": endpoint.base_url, "slots": 1}
    assert root.post(url(Endpoint, "add"), data).status_code == 200
    twice = {
        "endpoints-TOTAL_FORMS": "3",
        **{f"endpoints-{n}-base_url": "http://twice:1" for n in (1, 2)},
        **{f"endpoints-{n}-slots": "1" for n in (1, 2)},
        **{f"endpoints-{n}-provider": str(provider.pk) for n in (1, 2)},
    }
    assert (
        root.post(url(Provider, "change", provider.pk), provider_form(provider, **twice)).status_code == 200
    )
    assert provider.endpoints.count() == 1


def test_an_experiment_is_made_with_its_variants(signed_in, org):
    client = signed_in("editor")
    variant = {"variants-TOTAL_FORMS": "1", "variants-0-name": "A", "variants-0-config": ""}
    assert client.post(url(Experiment, "add"), new_experiment(org, **variant)).status_code == 302
    made = Experiment.objects.get().variants.get()
    assert (made.name, made.config) == ("A", {})
    assert AuditEvent.objects.filter(event="admin.experimentvariant.created", object_id=str(made.pk)).exists()


def test_members_are_added_by_those_who_manage_them_among_people_they_know(signed_in, org, charlie, alice):
    client = signed_in("admin")
    bob = factories.make_user("bob")
    page = url(Org, "change", org.pk)
    text = client.get(page).content.decode()
    assert "alice" in text
    assert "charlie" not in text
    text = client.get(url(Membership, "add")).content.decode()
    assert "charlie" not in text
    data = {"org": str(org.pk), "user": str(bob.pk), "role": "viewer"}
    assert client.post(url(Membership, "add"), data).status_code == 200
    assert not bob.memberships.exists()


def test_a_used_provider_can_be_deleted_with_its_slots(root, experiment):
    provider = Provider.objects.get()
    assert root.post(url(Provider, "delete", provider.pk), {"post": "yes"}).status_code == 302
    assert not Provider.objects.exists()


def test_people_are_made_and_changed_with_an_audit_event(root):
    data = {"username": "dora", "password1": factories.PASSWORD, "password2": factories.PASSWORD}
    answer = root.post(url(User, "add"), {**data, "usable_password": "true"})
    assert answer.status_code == 302
    dora = User.objects.get(username="dora")
    assert root.get(url(User, "change", dora.pk)).status_code == 200
    passwords = {
        "password1": "another-long-one-7",
        "password2": "another-long-one-7",
        "usable_password": "true",
    }
    assert root.post(reverse("admin:auth_user_password_change", args=[dora.pk]), passwords).status_code == 302
    events = AuditEvent.objects.filter(object_id=str(dora.pk)).order_by("id")
    assert [event.event for event in events] == ["admin.user.created", "admin.user.changed"]
    assert "another-long" not in str(list(events.values_list("after")))


def test_an_orgs_staff_may_name_and_ask_public_servers_only(signed_in, experiment, monkeypatch):
    client = signed_in("admin")
    provider = Provider.objects.get()
    new = {"endpoints-0-base_url": "http://127.0.0.1:5432"}
    assert (
        client.post(url(Provider, "change", provider.pk), provider_form(provider, **new)).status_code == 200
    )
    data = {"provider": provider.pk, "base_url": "http://169.254.169.254", "slots": 1}
    assert client.post(url(Endpoint, "add"), data).status_code == 200
    assert provider.endpoints.get().base_url == "http://127.0.0.1:9"
    asked = []
    monkeypatch.setattr(registry, "sync_provider", asked.append)
    act(client, Provider, "synchronise", provider)
    assert not asked
    data["base_url"] = "http://8.8.8.8"
    assert client.post(url(Endpoint, "add"), data).status_code == 302
    provider.refresh_from_db()
    assert provider.api_key == ""
