"""The registry: servers, the models that they offer, and named ways of using them."""

from __future__ import annotations

import re
from typing import Self
from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import CASCADE, Exists, ForeignKey, OuterRef, Q, TextChoices

from evalsuite.crypto import EncryptedTextField
from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from llm_routing import types

# A key travels in a header: visible ASCII and nothing else.
HEADER_SAFE = RegexValidator(re.compile(r"\A[\x21-\x7e]*\Z"), "A key has visible ASCII characters only.")


class ProviderQuerySet(models.QuerySet["Provider"]):
    def usable_by(self, org: Org | UUID) -> Self:
        """Enabled providers of this org and the ones that the operator shares with all."""
        return self.filter(Q(org=org) | Q(org=None), enabled=True)

    def visible_to(self, org: Org) -> Self:
        """Shared ones that are enabled, and all of this org's own."""
        return self.filter(Q(org=org) | Q(org=None, enabled=True)).prefetch_related("endpoints")


class Provider(Row):
    """A kind of server and how to talk to it. Without an org it is the operator's, shared by all.

    Time limits are in seconds. The key is write-only: no page and no answer ever shows it.
    """

    class Kind(TextChoices):
        OLLAMA = "ollama", "Ollama"
        OPENAI_COMPATIBLE = "openai_compatible", "OpenAI-compatible"

    # By name: to type checkers `models` may be the reverse relation that is called so.
    org = ForeignKey(Org, null=True, blank=True, on_delete=CASCADE, related_name="providers")
    slug = models.SlugField(max_length=64, help_text="The name by which requests choose it, such as ollama.")
    name = models.CharField(max_length=128)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    api_key = EncryptedTextField(blank=True, default="")
    enabled = models.BooleanField(default=True)
    is_toy = models.BooleanField(
        default=False, help_text="A small model for trying the product: the console says so."
    )
    connect_timeout = models.FloatField(default=3)
    first_token_timeout = models.FloatField(default=120)
    idle_timeout = models.FloatField(default=30)
    total_timeout = models.FloatField(default=300)

    objects = ProviderQuerySet.as_manager()

    class Meta:
        ordering = ["slug", "id"]
        constraints = [
            models.UniqueConstraint(fields=["org", "slug"], name="one_provider_per_org_and_slug"),
            models.UniqueConstraint(
                fields=["slug"], condition=Q(org=None), name="one_shared_provider_per_slug"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def limits(self) -> types.Limits:
        return types.Limits(
            connect_s=self.connect_timeout,
            first_token_s=self.first_token_timeout,
            idle_s=self.idle_timeout,
            total_s=self.total_timeout,
        )


class Endpoint(Row):
    """One address of a provider. `slots` is how many calls it may have in the air, over all processes."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="endpoints")
    base_url = models.URLField(max_length=512)
    slots = models.PositiveIntegerField(default=4, validators=[MinValueValidator(1), MaxValueValidator(1024)])
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Of a provider's endpoints one of weight 2 gets twice the calls of one of weight 1.",
    )
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "base_url"], name="one_endpoint_per_address")
        ]

    def __str__(self) -> str:
        return self.base_url


class EndpointRecord(models.Model):
    """When an endpoint last answered and last failed, for people. Its gate has what decides on calls.

    Without a constraint: it is written beside calls, and an endpoint may have gone meanwhile.
    """

    endpoint = models.OneToOneField(
        Endpoint, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="record"
    )
    answered_at = models.DateTimeField(null=True, help_text="To some seconds.")
    failed_at = models.DateTimeField(null=True)
    failure = models.TextField(blank=True, default="", help_text="What was wrong then, in words.")

    def __str__(self) -> str:
        return str(self.endpoint_id)


class GateState(models.Model):
    """Who is let through to an endpoint, or under another bound, now: kept here where there is no Redis."""

    scope = models.UUIDField(primary_key=True, editable=False)
    text = models.TextField(blank=True, default="")
    touched_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.scope)


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    def usable_by(self, org: Org | UUID) -> Self:
        """Models that this org may call now. Its own provider hides a shared one of the same slug."""
        own = Provider.objects.filter(org=org, enabled=True).values("slug")
        allowed = RegisteredModel.allowed_orgs.through.objects.filter(org=org).values("registeredmodel")
        return (
            self.filter(available=True, provider__in=Provider.objects.usable_by(org))
            .exclude(provider__org=None, provider__slug__in=own)
            .filter(Q(open_to_all=True) | Q(pk__in=allowed))
        )

    def visible_to(self, org: Org) -> Self:
        """Models that this org may call now, and all of its own providers."""
        usable = self.model.objects.usable_by(org).values("pk")
        return self.filter(Q(provider__org=org) | Q(pk__in=usable)).with_default_of(org)

    def with_default_of(self, org: Org) -> Self:
        """With the provider at hand, and `is_default` (bool): requests that name no model go to it."""
        default = ModelDefault.objects.filter(org=org, model=OuterRef("pk"))
        return self.select_related("provider").annotate(is_default=Exists(default))


class RegisteredModel(Row):
    """A model that a provider offers, as it was last seen there."""

    wire_name = "model"

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="offers")
    name = models.CharField(max_length=256)
    digest = models.CharField(max_length=128, blank=True, help_text="SHA-256 of the weights, where told.")
    size_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Of the weights on disk, where told."
    )
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    num_ctx = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Context to load the model with; empty: 4096, or less where it has less.",
    )
    capabilities = models.JSONField(default=list, blank=True)
    details = models.JSONField(default=dict, blank=True)
    available = models.BooleanField(default=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    open_to_all = models.BooleanField(default=True, help_text="Off: only the orgs listed may use it.")
    allowed_orgs = models.ManyToManyField(Org, blank=True, related_name="+")

    objects = RegisteredModelQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["provider", "name"], name="one_model_per_provider")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_cloud(self) -> bool:
        """An Ollama passes its text on to a hosted service: it leaves the house."""
        if "remote_host" in self.details:
            return True
        tag = self.name.rpartition(":")[2]
        return self.provider.kind == Provider.Kind.OLLAMA and (tag == "cloud" or tag.endswith("-cloud"))


class ModelDefault(models.Model):
    """The model that an org's requests use when they name none."""

    org = models.OneToOneField(Org, on_delete=models.CASCADE, related_name="model_default")
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"{self.org}: {self.model}"


class ProfileFacts(Row):
    """What a chat profile says: its name, its prompt, its model and its settings."""

    name = models.CharField(max_length=128)
    system_prompt = models.TextField(blank=True, default="")
    model_provider = models.CharField(max_length=64)
    model_name = models.CharField(max_length=256)
    temperature = models.FloatField(
        default=types.DEFAULT_TEMPERATURE, validators=[MinValueValidator(0), MaxValueValidator(2)]
    )
    top_p = models.FloatField(
        default=types.DEFAULT_TOP_P, validators=[MinValueValidator(0), MaxValueValidator(1)]
    )
    max_tokens = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(32768)]
    )

    class Meta:
        abstract = True


class ChatProfile(ProfileFacts):
    """A named prompt, model and settings. `version` counts its changes, for snapshots."""

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="chat_profiles")
    version = models.PositiveIntegerField(default=1, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = OrgScopedQuerySet["ChatProfile"].as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["org", "name"], name="one_profile_per_name")]

    def __str__(self) -> str:
        return self.name


class ChatProfileVersion(ProfileFacts):
    """A chat profile as it was, or is, at one of its versions. Written once, with each change."""

    wire_name = "chat profile version"

    profile = models.ForeignKey(ChatProfile, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    restored_from = models.PositiveIntegerField(
        null=True, blank=True, help_text="The number of the version that was brought back."
    )

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["profile", "number"], name="one_row_per_version")]

    def __str__(self) -> str:
        return f"{self.name}, version {self.number}"
