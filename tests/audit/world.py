"""An org with one of everything, and what its tables hold."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.db import connection
from django.utils import timezone

from evalsuite.ids import new_id
from evalsuite.orgs.api_keys import create_key
from evalsuite.orgs.invitations import invite
from evalsuite.orgs.models import Membership
from experiments.models import Batch, EvalScore, Evaluator, ExperimentRun
from llm_routing import resolution, services
from llm_routing.types import Parameters
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession
from tests import factories

APPS = ["orgs", "quotas", "llm_routing", "playground", "experiments", "token_blacklist"]
# Counts of the moment: they are no change that anybody made.
PASSING = {"playgroundminute", "gatestate", "sweepturn", "endpointrecord"}


def contents() -> dict[str, list[str]]:
    """All rows of all tables but the audit log's own, by the label of their model."""
    found = {}
    with connection.cursor() as cursor:
        for label, query in _queries().items():
            cursor.execute(query)
            found[label] = sorted(map(repr, cursor.fetchall()))
    return found


@cache
def _queries() -> dict[str, str]:
    """As text: asked some thousand times, and a query of Django's is built anew each time."""
    models = (
        model for app in APPS for model in apps.get_app_config(app).get_models(include_auto_created=True)
    )
    return {
        model._meta.label_lower: f"SELECT {', '.join(_columns(model))} FROM {model._meta.db_table}"
        for model in models
        if model._meta.model_name not in PASSING
    }


def _columns(model: Any) -> list[str]:
    """Signing in for a test is none of its changes."""
    quote = connection.ops.quote_name
    return [quote(field.column) for field in model._meta.concrete_fields if field.name != "last_login"]


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {label for label in before if before[label] != after[label]}


def build(org, alice, server_url: str) -> SimpleNamespace:
    """The ids that routes have in them, under the routes' own names, and the rows themselves."""
    world = SimpleNamespace(org=org, alice=alice, org_id=org.pk, server=server_url, version="1")
    world.bob = factories.make_user("bob", org=org, role="viewer")
    world.newcomer = factories.make_user("newcomer")
    world.member_id = Membership.objects.get(org=org, user=world.bob).pk
    key, _ = create_key(org=org, actor=alice, name="old", permissions=["org:experiments:read"], days=7)
    world.key_id = key.pk
    world.invitation_id = invite(org=org, actor=alice, role="viewer")[0].pk
    world.model = factories.make_model(org=org, slug="own", base_url=server_url)
    world.model_id, world.provider_id = world.model.pk, world.model.provider_id
    world.endpoint_id = world.model.provider.endpoints.get().pk
    profile = factories.make_profile(org, "Helper", model_provider="own")
    services.update_profile(profile, actor=alice, system_prompt="You are short.")
    world.profile, world.profile_id = profile, profile.pk
    _experiment(world)
    world.comparison = Comparison.objects.create(org=org, user=alice, prompt="hello")
    world.comparison_id = world.comparison.pk
    world.session = PlaygroundSession.objects.create(
        org=org,
        user=alice,
        model_provider="own",
        model_name="tiny:1b",
        temperature=0.7,
        top_p=1,
        parameters=resolution.parameters_to_json(Parameters()),
    )
    PlaygroundMessage.objects.create(session=world.session, role="user", content="hello")
    PlaygroundMessage.objects.create(session=world.session, role="assistant", content="hi")
    world.session_id = world.session.pk
    return world


def _experiment(world: SimpleNamespace) -> None:
    """The first input and variant have a result; the last of them may go."""
    experiment = factories.make_experiment(world.org, inputs=2, variants=2, user=world.alice)
    world.experiment, world.experiment_id = experiment, experiment.pk
    own = {"modelProvider": "own", "modelName": "tiny:1b"}
    experiment.variants.update(config=own)
    world.variant_id = experiment.variants.order_by("id").last().pk
    world.input_id = experiment.inputs.order_by("id").last().pk
    world.run = factories.make_run(experiment)
    Batch.objects.filter(pk=world.run.batch_id).update(finished_at=timezone.now())
    world.run_id, world.batch_id = world.run.pk, world.run.batch_id
    used = factories.make_metric(world.org, "correctness")
    world.metric_id = factories.make_metric(world.org, "style").pk
    world.score = EvalScore.objects.create(run=world.run, metric=used, value=1, rater=world.alice)
    world.score_id = world.score.pk
    world.evaluator = Evaluator.objects.create(
        experiment=experiment, metric=used, kind="exact_match", name="E", config={}
    )
    world.evaluator_id = world.evaluator.pk


def open_batch(world: SimpleNamespace, *, state: str = "running", cell: str = "queued") -> dict[str, Any]:
    """For routes that steer a batch: its id in place of that of the finished one."""
    batch = Batch.objects.create(id=new_id(), experiment=world.experiment, total=1, state=state, parallel=1)
    ExperimentRun.objects.create(
        experiment=world.experiment,
        batch=batch,
        state=cell,
        variant=world.experiment.variants.first(),
        input=world.experiment.inputs.first(),
        position=0,
        model=world.model,
        model_provider="own",
        model_name="tiny:1b",
        temperature=0.7,
        top_p=1.0,
    )
    return {"batch_id": batch.pk}
