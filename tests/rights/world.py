"""Two organisations that have a row of everything, each with a word of its own in every text."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from django.apps import apps
from django.db import models
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite.audit.services import record
from evalsuite.ids import new_id
from evalsuite.orgs.models import ApiKey, Invitation, Membership, Org, User
from evalsuite.quotas.models import OrgLimits, UsageCounter, UsageRecord
from experiments.models import Batch, EvalScore, Evaluation, Evaluator, ExperimentRun, RunAttempt, Thumb
from llm_routing import resolution, services
from llm_routing.models import Endpoint, EndpointRecord, Provider
from llm_routing.types import Parameters
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession
from tests import factories

ROLES = ("owner", "admin", "editor", "rater", "viewer")
CALLERS = ("anonymous", *ROLES, "stranger", "removed", "superuser")
WORDS = {"own": "canaryalpha", "foreign": "canarybravo"}
# Texts that a program reads: another one in them would be another row, or none.
PLAIN = {
    "Evaluator.kind", "PlaygroundSession.parameters", "RegisteredModel.name", "api_key", "base_url",
    "digest", "error_code", "load_key", "model_digest", "model_name", "model_provider", "password",
    "request_hash", "slug", "stop_reason", "type", "username", "waits_for", "worker",
}  # fmt: skip
OF_NOBODY = {"GateState", "SweepTurn"}  # the engine's own bookkeeping
STAMPED = ("orgs", "llm_routing", "playground", "experiments")
_numbers = count(1)


@dataclass
class Side:
    """One org: its members by role, and the ids that stand for the words of a path or a body."""

    org: Org
    word: str
    users: dict[str, User] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    by_caller: dict[str, dict[str, str]] = field(default_factory=dict)  # what belongs to a person

    def ids_for(self, caller: str) -> dict[str, str]:
        return {**self.ids, **self.by_caller.get(caller, self.by_caller["owner"])}


@dataclass
class World:
    sides: dict[str, Side]
    users: dict[str, User | None]  # by caller; the roles are those of the own org
    tokens: dict[str, str]
    sessions: dict[str, Client]


def build(base_url: str) -> World:
    """Everything. `base_url` is the model server of both orgs."""
    own, foreign = (_side(name, base_url) for name in WORDS)
    removed = factories.make_user("removed", org=own.org, role="owner")
    root = factories.make_user("root", is_superuser=True, is_staff=True)
    for side in (own, foreign):
        _of_person(side, "superuser", root)
    _of_person(own, "removed", removed)
    for side in (own, foreign):
        _stamp(side)
    Membership.objects.filter(user=removed).delete()
    users: dict[str, User | None] = {
        "anonymous": None,
        **own.users,
        "stranger": foreign.users["owner"],
        "removed": removed,
        "superuser": root,
    }
    User.objects.update(is_staff=True)  # in the admin, too, the role decides
    tokens = {name: str(RefreshToken.for_user(user).access_token) for name, user in users.items() if user}
    return World(
        {"own": own, "foreign": foreign}, users, tokens, {n: _signed_in(u) for n, u in users.items()}
    )


def _signed_in(user: User | None) -> Client:
    client = Client()
    if user:
        client.force_login(user)
    return client


def _side(name: str, base_url: str) -> Side:
    word = WORDS[name]
    org = Org.objects.create(name=f"{word} organisation", slug=f"{word}-org")
    side = Side(org, word)
    for role in ROLES:
        side.users[role] = factories.make_user(f"{word}-{role}", org=org, role=role)
    spare = factories.make_user(f"{word}-spare", org=org, role="viewer")
    factories.make_user(f"{word}-newcomer")
    model = factories.make_model(f"{word}:1b", slug=f"{word}-own", org=org, base_url=base_url)
    other = factories.make_model(f"{word}:2b", slug=f"{word}-own", org=org, base_url=base_url)
    factories.set_default_model(org, model)
    endpoint = Endpoint.objects.get(provider=model.provider)
    spare_endpoint = Endpoint.objects.create(
        provider=model.provider, base_url="http://127.0.0.1:7", enabled=False
    )
    EndpointRecord.objects.create(endpoint=endpoint, failed_at=now(), failure="down")
    Provider.objects.filter(pk=model.provider_id).update(name=f"{word} provider", api_key=f"sk-{word}")
    side.ids = {
        "org": org.pk,
        "member": Membership.objects.get(user=spare).pk,
        "user": spare.pk,
        "newcomer": f"{word}-newcomer",
        "provider": model.provider_id,
        "endpoint": endpoint.pk,
        "spare_endpoint": spare_endpoint.pk,
        "model": model.pk,
        "other_model": other.pk,
        "slug": model.provider.slug,
        "model_name": model.name,
    }
    names = {"model_provider": model.provider.slug, "model_name": model.name}
    side.ids |= _profiles(side, names) | _experiment(side, names) | _usage(side, names)
    for role, user in side.users.items():
        _of_person(side, role, user)
    side.ids = {name: str(value) for name, value in side.ids.items()}
    return side


def _profiles(side: Side, names: dict[str, str]) -> dict[str, Any]:
    profile = factories.make_profile(side.org, f"{side.word} profile", **names)
    profile.name, profile.version = f"{side.word} profile now", 2
    profile.save()
    services.keep_version(profile, author=side.users["owner"])
    used = factories.make_profile(side.org, f"{side.word} used profile", **names)
    return {"profile": profile.pk, "used_profile": used.pk, "version": profile.versions.get(number=1).pk}


def _experiment(side: Side, names: dict[str, str]) -> dict[str, Any]:
    owner = side.users["owner"]
    experiment = factories.make_experiment(side.org, inputs=2, variants=3, name=side.word, user=owner)
    used, other, spare = experiment.variants.order_by("id")
    used.chat_profile_id = side.org.chat_profiles.get(name=f"{side.word} used profile").pk
    used.save()
    first, last = experiment.inputs.order_by("id")
    batch = Batch.objects.create(
        experiment=experiment, total=3, state="finished", author=owner, finished_at=now()
    )
    shared = {"batch": batch, "finished_at": now(), **names}
    run = factories.make_run(experiment, variant=used, input=first, **shared)
    fellow = factories.make_run(experiment, variant=other, input=first, **shared)
    failed = factories.make_run(experiment, variant=used, input=first, repeat=2, state="failed", **shared)
    metric = factories.make_metric(side.org, "quality")
    spare_metric = factories.make_metric(side.org, f"{side.word}-unused")
    evaluator = Evaluator.objects.create(experiment=experiment, metric=metric, kind="exact_match", name="E")
    evaluation = Evaluation.objects.create(run=run, batch=batch, evaluator=evaluator)
    attempt = RunAttempt.objects.create(id=new_id(), run=run, number=1, started_at=now())
    busy = factories.make_experiment(side.org, inputs=1, variants=1, name=f"{side.word} busy", user=owner)
    rows = {"experiment": experiment, "variant": spare, "used_variant": used, "other_variant": other}
    rows |= {"input": last, "used_input": first, "batch": batch, "run": run, "fellow_run": fellow}
    rows |= {"failed_run": failed, "metric": spare_metric, "used_metric": metric, "evaluator": evaluator}
    rows |= {"evaluation": evaluation, "attempt": attempt}
    rows |= {f"{state}_batch": _open_batch(busy, state, owner, names) for state in ("running", "paused")}
    return {name: row.pk for name, row in rows.items()}


def now() -> Any:
    return timezone.now()


def _open_batch(experiment: Any, state: str, author: User, names: dict[str, str]) -> Batch:
    batch = Batch.objects.create(experiment=experiment, total=1, state=state, author=author)
    factories.make_run(experiment, batch=batch, state="queued", **names)
    return batch


def _usage(side: Side, names: dict[str, str]) -> dict[str, Any]:
    month = now().date().replace(day=1)
    ledger = UsageRecord.objects.create(
        org=side.org,
        attempt=new_id(),
        kind="experiment",
        day=now().date(),
        user_id=side.users["owner"].pk,
        **names,
    )
    counter = UsageCounter.objects.create(org=side.org, month=month, day=month)
    limits = OrgLimits.objects.create(org=side.org)
    key = ApiKey.objects.create(
        org=side.org, creator=side.users["owner"], name="K", digest=side.word, expires_at=now() + timedelta(1)
    )
    invitation = Invitation.objects.create(
        org=side.org,
        creator=side.users["owner"],
        role="viewer",
        digest=f"invited-{side.word}",
        expires_at=now() + timedelta(1),
    )
    record(
        "test.happened",
        org=side.org,
        actor=side.users["owner"],
        subject=side.org,
        after={side.word: side.word},
    )
    event = apps.get_model("audit", "AuditEvent").objects.filter(org=side.org).first()
    default = side.org.model_default
    return {
        "ledger": ledger.pk,
        "counter": counter.pk,
        "limits": limits.pk,
        "event": event.pk,
        "default": default.pk,
        "key": key.pk,
        "invitation": invitation.pk,
    }


def _of_person(side: Side, caller: str, user: User) -> None:
    """What only one's own hands may touch: sessions, comparisons, scores."""
    names = {"model_provider": side.ids["slug"], "model_name": side.ids["model_name"]}
    parameters = resolution.parameters_to_json(Parameters())
    comparison = Comparison.objects.create(org=side.org, user=user, prompt="hello")
    session = PlaygroundSession.objects.create(
        org=side.org,
        user=user,
        comparison=comparison,
        temperature=0.7,
        top_p=1,
        parameters=parameters,
        **names,
    )
    message = PlaygroundMessage.objects.create(session=session, role="user", content="hello")
    PlaygroundMessage.objects.create(session=session, role="assistant", content="hello")
    run = ExperimentRun.objects.get(pk=side.ids["run"])
    metric = side.ids["used_metric"]
    score = EvalScore.objects.create(run=run, metric_id=metric, value=1, rater=user)
    thumb = Thumb.objects.create(run=run, rater=user, up=True)
    rows = {"session": session, "comparison": comparison, "message": message, "score": score, "thumb": thumb}
    side.by_caller[caller] = {name: str(row.pk) for name, row in rows.items()}


def _stamp(side: Side) -> None:
    """The org's word, and a number, in every text of every row that belongs to it."""
    people = User.objects.filter(username__startswith=side.word)
    for label in STAMPED:
        for model in apps.get_app_config(label).get_models():
            if model.__name__ in OF_NOBODY:
                continue
            fields = {f.name: f for f in model._meta.fields if _takes_words(f)}
            rows = people if model is User else model._default_manager.filter(pk__in=_owned(model, side))
            for row in rows if fields else ():
                values = {name: _words(f, side.word, getattr(row, name)) for name, f in fields.items()}
                model._default_manager.filter(pk=row.pk).update(**values)


def _takes_words(found: models.Field[Any, Any]) -> bool:
    if PLAIN & {found.name, f"{found.model.__name__}.{found.name}"} or found.choices or found.primary_key:
        return False
    return isinstance(found, models.CharField | models.TextField | models.JSONField)


def _words(found: models.Field[Any, Any], word: str, present: Any) -> Any:
    if isinstance(found, models.JSONField):
        if isinstance(present, list):
            return [{"role": "user", "content": word}] if found.name == "messages" else []
        return {"1": word} if found.name == "labels" else {word: word}
    return f"{word}{next(_numbers)}"


PATHS = (
    "org", "experiment__org", "run__experiment__org", "session__org", "provider__org", "profile__org",
    "endpoint__provider__org",
)  # fmt: skip


def _owned(model: type[models.Model], side: Side) -> Any:
    if model is Org:
        return [side.org.pk]
    for path in PATHS:
        try:
            return list(model._default_manager.filter(**{path: side.org}).values_list("pk", flat=True))
        except Exception as problem:
            if type(problem).__name__ != "FieldError":
                raise
    raise AssertionError(f"how does {model.__name__} lead to its org?")
