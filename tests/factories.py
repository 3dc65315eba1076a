"""Small makers of rows; each takes what the test is about and invents the rest."""

from __future__ import annotations

from itertools import count
from typing import Any

from evalsuite.orgs.models import Membership, Org, User
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    Experiment,
    ExperimentInput,
    ExperimentRun,
    ExperimentVariant,
)
from llm_routing import services
from llm_routing.models import ChatProfile, Endpoint, ModelDefault, Provider, RegisteredModel

_numbers = count(1)
PASSWORD = "correct-horse-battery"


def make_org(name: str | None = None) -> Org:
    number = next(_numbers)
    return Org.objects.create(name=name or f"Org {number}", slug=f"org-{number}")


def make_user(
    name: str | None = None, *, org: Org | None = None, role: str = "editor", **fields: Any
) -> User:
    name = name or f"user{next(_numbers)}"
    user = User(username=name, **fields)
    user.set_password(PASSWORD)
    user.save()
    if org:
        Membership.objects.create(org=org, user=user, role=role)
    return user


def make_model(
    name: str = "tiny:1b",
    *,
    base_url: str = "http://127.0.0.1:9",
    kind: str = "ollama",
    slug: str = "ollama",
    org: Org | None = None,
    slots: int = 4,
    **fields: Any,
) -> RegisteredModel:
    """A registered model on one endpoint; nothing listens at the default address."""
    provider, _ = Provider.objects.get_or_create(org=org, slug=slug, defaults={"name": slug, "kind": kind})
    Endpoint.objects.get_or_create(provider=provider, base_url=base_url, defaults={"slots": slots})
    model, _ = RegisteredModel.objects.get_or_create(
        provider=provider, name=name, defaults={"digest": "d1g357", "context_tokens": 4096, **fields}
    )
    return model


def set_default_model(org: Org, model: RegisteredModel) -> None:
    ModelDefault.objects.update_or_create(org=org, defaults={"model": model})


def make_profile(org: Org, name: str = "Helper", **fields: Any) -> ChatProfile:
    defaults = {"model_provider": "ollama", "model_name": "tiny:1b", "system_prompt": "You are kind."}
    profile = ChatProfile.objects.create(org=org, name=name, **{**defaults, **fields})
    services.keep_version(profile, author=None)
    return profile


def make_experiment(
    org: Org, *, inputs: int = 0, variants: int = 0, name: str = "Tone", user: User | None = None
) -> Experiment:
    experiment = Experiment.objects.create(org=org, name=name, created_by=user)
    ExperimentInput.objects.bulk_create(
        ExperimentInput(experiment=experiment, key=f"case_{n}", content=f"text {n}", expected=f"answer {n}")
        for n in range(1, inputs + 1)
    )
    for n in range(1, variants + 1):
        ExperimentVariant.objects.create(experiment=experiment, name=f"variant {n}")
    return experiment


def make_run(experiment: Experiment, *, state: str = "succeeded", **fields: Any) -> ExperimentRun:
    """One cell, in a batch of its own unless one is given, on the experiment's first input and variant."""
    batch = fields.pop("batch", None) or Batch.objects.create(
        experiment=experiment, total=1, state="finished"
    )
    defaults = {
        "variant": experiment.variants.first(),
        "input": experiment.inputs.first(),
        "position": 0,
        "model_provider": "ollama",
        "model_name": "tiny:1b",
        "temperature": 0.7,
        "top_p": 1.0,
        "output": "an answer",
        "latency_ms": 120,
    }
    return ExperimentRun.objects.create(
        experiment=experiment, batch=batch, state=state, **{**defaults, **fields}
    )


def make_metric(org: Org, key: str = "correctness", **fields: Any) -> EvalMetricDefinition:
    return EvalMetricDefinition.objects.create(org=org, key=key, name=key, **fields)
