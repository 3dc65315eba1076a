"""What is there before the first experiment: orgs, people, a model and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from django.contrib.auth.hashers import make_password

from evalsuite.orgs.models import Membership, Org, User
from experiments.loadtest import answers
from experiments.loadtest.answers import Stock
from experiments.loadtest.shape import Shape
from experiments.models import EvalMetricDefinition, Experiment, ExperimentInput, ExperimentVariant
from llm_routing import services
from llm_routing.models import ChatProfile, Endpoint, ModelDefault, Provider, RegisteredModel

MODEL = "loadtest-model"
UNREACHABLE = "http://127.0.0.1:9"  # nothing listens there: what was measured is never changed by a run
SMALL_INPUTS, PROFILES = 5, 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where cells are written: all that they have in common."""

    org: Org
    members: list[User]  # the first one is the owner
    model: RegisteredModel
    metrics: dict[str, EvalMetricDefinition]
    stock: Stock

    @property
    def owner(self) -> User:
        return self.members[0]


def make_orgs(shape: Shape, *, name: str, slug: str, password: str) -> tuple[Org, list[User]]:
    """The org and its members, and the others with an owner and a small experiment each."""
    org = Org.objects.create(name=name, slug=slug)
    secret = make_password(password)
    members = [User(username=author_of(slug, n), password=secret) for n in range(1, shape.members + 1)]
    User.objects.bulk_create(members)
    roles = Membership.Role
    Membership.objects.bulk_create(
        Membership(org=org, user=user, role=roles.EDITOR if number else roles.OWNER)
        for number, user in enumerate(members)
    )
    others = [Org(name=f"{name} {n}", slug=f"{slug}-{n}") for n in range(2, shape.orgs + 1)]
    owners = [User(username=one.slug, password=make_password(None)) for one in others]
    experiments = [
        Experiment(org=one, created_by=user, name="Small") for one, user in zip(others, owners, strict=True)
    ]
    Org.objects.bulk_create(others)
    User.objects.bulk_create(owners)
    Membership.objects.bulk_create(
        Membership(org=one, user=user, role=roles.OWNER) for one, user in zip(others, owners, strict=True)
    )
    Experiment.objects.bulk_create(experiments)
    ExperimentVariant.objects.bulk_create(
        ExperimentVariant(experiment=one, name="Plain") for one in experiments
    )
    ExperimentInput.objects.bulk_create(
        ExperimentInput(experiment=one, key=f"case_{n}", content=f"Question {n}")
        for one in experiments
        for n in range(1, SMALL_INPUTS + 1)
    )
    return org, members


def author_of(slug: str, number: int) -> str:
    """The user name of a member, the owner being number 1."""
    return f"{slug}-user-{number}"


def make_place(org: Org, members: list[User], chance: Random) -> Place:
    provider = Provider.objects.create(
        org=org, slug="loadtest", name="Load test", kind=Provider.Kind.OPENAI_COMPATIBLE
    )
    Endpoint.objects.create(provider=provider, base_url=UNREACHABLE, slots=64)
    model = RegisteredModel.objects.create(provider=provider, name=MODEL, context_tokens=8192)
    ModelDefault.objects.create(org=org, model=model)
    share = {"minimum": 0.0, "maximum": 1.0, "scale": "0..1"}
    metrics = [
        EvalMetricDefinition(org=org, key=key, name=key.replace("_", " ").capitalize(), **share)
        for _, _, key in answers.EVALUATORS
    ]
    style = EvalMetricDefinition(
        org=org, key=answers.BY_PEOPLE, name="Style", minimum=1.0, maximum=5.0, step=1.0, scale="1-5"
    )
    EvalMetricDefinition.objects.bulk_create([*metrics, style])
    for number in range(1, PROFILES + 1):
        names = {"model_provider": provider.slug, "model_name": model.name}
        profile = ChatProfile.objects.create(org=org, name=f"Clerk {number}", **names)
        services.keep_version(profile, author=members[0])
    return Place(org, members, model, {one.key: one for one in [*metrics, style]}, answers.make(chance))
