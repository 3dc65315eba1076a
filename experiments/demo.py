"""What a fresh installation starts with: an administrator, an organisation and a sample experiment."""

from __future__ import annotations

import secrets

from django.db import transaction

from evalsuite.audit.services import record
from evalsuite.orgs import services
from evalsuite.orgs.management.saving import each_account_leaves
from evalsuite.orgs.models import Org, User
from experiments.models import Experiment
from experiments.services import authoring, metric_definitions
from llm_routing.models import ModelDefault, RegisteredModel

USERNAME = "admin"
ORG_SLUG = "demo"
SAMPLE = "Sentiment of product reviews"

REVIEWS = [
    ("headphones", "The sound is warm and clear, and I love wearing them all day.", "positive"),
    ("kettle", "It broke after two days and the shop refused a refund.", "negative"),
    ("backpack", "Light, sturdy and beautiful. I would buy it again.", "positive"),
    ("lamp", "The light flickers and gives me a headache. A waste of money.", "negative"),
    ("coffee", "The best coffee I have ever made at home.", "positive"),
    ("phone_case", "Cheap plastic, it cracked on the first day. Very disappointing.", "negative"),
    ("running_shoes", "So comfortable that I forgot I was wearing them. Wonderful.", "positive"),
    ("vacuum", "Terrible noise and it picks up nothing.", "negative"),
    ("keyboard", "Excellent keys, a joy to type on.", "positive"),
    ("blender", "It leaks everywhere. I regret buying it.", "negative"),
    ("blanket", "Soft, warm and just perfect for the winter.", "positive"),
    ("printer", "Awful software, and it jams on every page.", "negative"),
    ("watch", "Great battery, great screen, I am very happy.", "positive"),
    ("umbrella", "The first wind destroyed it. Useless.", "negative"),
    ("puzzle", "My kids adore it, a fantastic gift.", "positive"),
    ("chair", "My back hurts after ten minutes. The worst chair I have owned.", "negative"),
]
QUESTION = 'Is this review positive or negative?\n\n"{{ input }}"\n\nAnswer with one word.'
LABEL = "Review: {{ input }}\nLabel (positive or negative):"
EITHER_LABEL = {"type": "string", "enum": ["positive", "negative"]}
# Chosen by trying some 40 prompts on the embedded model: its answers are right in about a quarter,
# two thirds, and nearly all of the cases.
VARIANTS = [
    {
        "name": "Free wording",
        "description": "A clear question, but nothing holds the model to one word.",
        "config": {"promptTemplate": QUESTION},
    },
    {
        "name": "Fixed labels, terse prompt",
        "description": "Only the two labels can come out, but the task is hardly explained.",
        "config": {"promptTemplate": LABEL, "format": EITHER_LABEL},
    },
    {
        "name": "Fixed labels, clear question",
        "description": "Only the two labels can come out, and the question is asked in full.",
        "system_prompt": "You answer with a single word, either positive or negative.",
        "config": {"promptTemplate": QUESTION, "format": EITHER_LABEL},
    },
]
SETTINGS = {"temperature": 0, "maxTokens": 8}


@transaction.atomic
def seed() -> str | None:
    """Make what a first start needs. Answers the administrator's new password; None: all is there.

    The organisation is the mark: what was deleted from it later stays deleted.
    """
    if Org.objects.filter(slug=ORG_SLUG).exists():
        return None
    org = Org.objects.create(name="Demo", slug=ORG_SLUG)
    record("org.created", org=org, actor=None, subject=org, after={"name": org.name, "slug": org.slug})
    author, password = _administrator()
    services.add_first_owner(org, author)
    create_sample(org=org, author=author)
    return password


def _administrator() -> tuple[User, str | None]:
    """Somebody may have made an `admin` before; their password is not touched."""
    known = User.objects.filter(username=USERNAME).first()
    if known is not None:
        return known, None
    password = secrets.token_urlsafe(12)
    with each_account_leaves("account.created"):
        return User.objects.create_superuser(USERNAME, password=password), password


def create_sample(*, org: Org, author: User) -> Experiment:
    experiment = authoring.create_experiment(
        org=org,
        author=author,
        name=SAMPLE,
        description="Three ways to ask a model whether a review is positive or negative.",
    )
    rows = [{"key": key, "content": content, "expected": label} for key, content, label in REVIEWS]
    authoring.add_inputs(experiment=experiment, author=author, rows=rows)
    for variant in VARIANTS:
        config = {**SETTINGS, **variant["config"]}  # type: ignore[dict-item]
        authoring.create_variant(experiment=experiment, author=author, **{**variant, "config": config})
    metric_definitions.create_metric(
        org=org,
        author=author,
        key="correctness",
        name="Correctness",
        description="1 where the answer is the expected one, else 0.",
        scale="0..1",
        minimum=0.0,
        maximum=1.0,
    )
    authoring.create_evaluator(
        experiment=experiment, author=author, kind="exact_match", metric_key="correctness"
    )
    return experiment


def sample_to_run() -> Experiment | None:
    """The sample, where it never ran and its organisation has a model to run it on."""
    fresh = Experiment.objects.filter(org__slug=ORG_SLUG, name=SAMPLE, batches=None)
    experiment = fresh.select_related("org").first()
    if experiment is None or not ModelDefault.objects.filter(org=experiment.org).exists():
        return None
    return experiment


def choose_default_model(models: list[RegisteredModel]) -> None:
    """Give the organisation a default model, unless it has one that can be used."""
    org = Org.objects.filter(slug=ORG_SLUG).first()
    if org is None or not models:
        return
    chosen = ModelDefault.objects.filter(org=org).values("model")
    if RegisteredModel.objects.usable_by(org).filter(pk__in=chosen).exists():
        return
    # One that thinks first would spend the sample's few tokens on that.
    best = min(models, key=lambda model: ("thinking" in model.capabilities, model.name))
    ModelDefault.objects.update_or_create(org=org, defaults={"model": best})
