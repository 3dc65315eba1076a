"""Rows to look at in the admin, and short ways of asking for its pages."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.urls import reverse
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from evalsuite.audit.services import record
from evalsuite.ids import new_id
from evalsuite.orgs.models import Invitation
from evalsuite.quotas.models import OrgLimits, UsageCounter, UsageRecord
from experiments.models import Batch, EvalScore, Evaluation, Evaluator, ExperimentRun, RunAttempt, Thumb
from llm_routing.models import ChatProfileVersion, Provider
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession
from tests import factories

admin.autodiscover()  # this may be read before the addresses are, with which the pages come
OURS = ["orgs", "audit", "quotas", "llm_routing", "playground", "experiments"]
PAGES = [model for model in admin.site._registry if model._meta.app_label in OURS]
READ_ONLY = {
    ExperimentRun,
    RunAttempt,
    Batch,
    Comparison,
    PlaygroundSession,
    PlaygroundMessage,
    AuditEvent,
    UsageRecord,
    UsageCounter,
    EvalScore,
    Thumb,
    ChatProfileVersion,
    Evaluation,
    Invitation,
}
KEY = "sk-very-secret"


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def fill(org, user, suffix=""):
    """At least one row of everything, in one org."""
    model = factories.make_model(slug=f"own-{org.slug}{suffix}", org=org)
    factories.set_default_model(org, model)
    Provider.objects.filter(pk=model.provider_id).update(api_key=KEY)
    Provider.objects.get(pk=model.provider_id)
    factories.make_profile(org, f"P{suffix}")
    experiment = factories.make_experiment(org, inputs=2, variants=2, name=f"Of {org.name}", user=user)
    run = factories.make_run(experiment)
    RunAttempt.objects.create(id=new_id(), run=run, number=1, started_at=timezone.now())
    metric = factories.make_metric(org, f"correctness{suffix}")
    evaluator = Evaluator.objects.create(experiment=experiment, metric=metric, kind="exact_match", name="E")
    Evaluation.objects.create(run=run, batch=run.batch, evaluator=evaluator)
    EvalScore.objects.create(run=run, metric=metric, value=1, rater=user)
    Thumb.objects.create(run=run, rater=user, up=True)
    Comparison.objects.create(org=org, user=user, prompt="hello")
    session = PlaygroundSession.objects.create(
        org=org, user=user, model_provider="ollama", model_name="tiny:1b", temperature=0.7, top_p=1
    )
    PlaygroundMessage.objects.create(session=session, role="user", content="hello")
    UsageRecord.objects.create(
        org=org,
        attempt=new_id(),
        kind="experiment",
        model_provider="ollama",
        model_name="m",
        day=timezone.now().date(),
    )
    month = (timezone.now().date() - timedelta(days=31 * UsageCounter.objects.count())).replace(day=1)
    UsageCounter.objects.create(org=org, month=month, day=month)
    OrgLimits.objects.get_or_create(org=org)
    Invitation.objects.create(
        org=org, creator=user, role="viewer", digest=new_id().hex, expires_at=timezone.now()
    )
    record("test.happened", org=org, actor=user, subject=org)
    return experiment


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
        "endpoints-0-weight": "1",
        "endpoints-0-enabled": "on",
        **fields,
    }


def new_experiment(org, **fields):
    inline = {"variants-TOTAL_FORMS": "0", "variants-INITIAL_FORMS": "0"}
    return {"org": str(org.pk), "name": "New", "type": "prompt_eval", "metadata": "", **inline, **fields}
