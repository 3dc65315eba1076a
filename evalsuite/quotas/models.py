"""What each org has used."""

from __future__ import annotations

from django.db import models

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet


class UsageRecord(Row):
    """The ledger: one row for each call whose result was recorded.

    `attempt` identifies the call, so that no call is counted twice. Token counts are None
    where the provider did not tell them.
    """

    class Kind(models.TextChoices):
        PLAYGROUND = "playground"
        EXPERIMENT = "experiment"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    attempt = models.UUIDField(unique=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    model_provider = models.CharField(max_length=64)
    model_name = models.CharField(max_length=256)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)

    objects = OrgScopedQuerySet["UsageRecord"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["org", "created_at"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.model_provider}/{self.model_name}"


class UsageCounter(models.Model):
    """An org's calls and tokens of one UTC day: the ledger's sum, kept at hand for limits."""

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    calls = models.PositiveBigIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "day"], name="one_counter_per_org_and_day")]

    def __str__(self) -> str:
        return f"{self.org} on {self.day}: {self.tokens} tokens"
