"""The registry: servers, the models that they offer, and named ways of using them."""

from __future__ import annotations

from typing import Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q, TextChoices

from evalsuite.crypto import EncryptedTextField
from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from llm_routing import types


class ProviderQuerySet(models.QuerySet["Provider"]):
    def usable_by(self, org: Org) -> Self:
        """Enabled providers of this org and the ones that the operator shares with all."""
        return self.filter(Q(org=org) | Q(org=None), enabled=True)


class Provider(Row):
    """A kind of server and how to talk to it. Without an org it is the operator's, shared by all.

    Time limits are in seconds. The key is write-only: no page and no answer ever shows it.
    """

    class Kind(TextChoices):
        OLLAMA = "ollama", "Ollama"
        OPENAI_COMPATIBLE = "openai_compatible", "OpenAI-compatible"

    org = models.ForeignKey(Org, null=True, blank=True, on_delete=models.CASCADE, related_name="providers")
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
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "base_url"], name="one_endpoint_per_address")
        ]

    def __str__(self) -> str:
        return self.base_url


class SlotLease(models.Model):
    """One of an endpoint's slots, held until `expires_at` unless its holder renews it."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="+")
    number = models.PositiveIntegerField()
    holder = models.UUIDField(null=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["endpoint", "number"], name="one_row_per_slot")]

    def __str__(self) -> str:
        return f"{self.endpoint} #{self.number}"


class RegisteredModelQuerySet(models.QuerySet["RegisteredModel"]):
    def usable_by(self, org: Org) -> Self:
        """Models that this org may call now. Its own provider hides a shared one of the same slug."""
        own = Provider.objects.filter(org=org, enabled=True).values("slug")
        return (
            self.filter(available=True, provider__in=Provider.objects.usable_by(org))
            .exclude(provider__org=None, provider__slug__in=own)
            .filter(Q(open_to_all=True) | Q(allowed_orgs=org))
            .distinct()
        )


class RegisteredModel(Row):
    """A model that a provider offers, as it was last seen there."""

    wire_name = "model"

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="models")
    name = models.CharField(max_length=256)
    digest = models.CharField(max_length=128, blank=True, help_text="SHA-256 of the weights, where told.")
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


class ModelDefault(models.Model):
    """The model that an org's requests use when they name none."""

    org = models.OneToOneField(Org, on_delete=models.CASCADE, related_name="model_default")
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"{self.org}: {self.model}"


class ChatProfile(Row):
    """A named prompt, model and settings. `version` counts its changes, for snapshots."""

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="chat_profiles")
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
    version = models.PositiveIntegerField(default=1, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = OrgScopedQuerySet["ChatProfile"].as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["org", "name"], name="one_profile_per_name")]

    def __str__(self) -> str:
        return self.name
