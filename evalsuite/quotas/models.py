"""What each org may use, and what it has used."""

from __future__ import annotations

from uuid import UUID

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet

MOST = 10**15  # far above any use, far below what a 64-bit counter holds
NOBODY = UUID(int=0)


def _limit(
    help_text: str, *, least: int = 0, most: int = MOST
) -> models.PositiveBigIntegerField[int | None, int | None]:
    return models.PositiveBigIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(least), MaxValueValidator(most)],
        help_text=f"{help_text} Empty: the installation's default.",
    )


class OrgLimits(Row):
    """What the operator allows an org. None: the default of the settings."""

    wire_name = "limits"

    org = models.OneToOneField(Org, on_delete=models.CASCADE, related_name="limits")
    requests_per_minute = _limit("Calls to models in one minute.")
    tokens_per_day = _limit("Tokens, in and out, in one UTC day.")
    tokens_per_month = _limit("Tokens, in and out, in one UTC month.")
    parallel_cells = _limit("Cells in the air at once, over all batches.", least=1, most=100_000)
    cells_per_batch = _limit("Cells of one run.", least=1, most=1_000_000)
    playground_per_minute = _limit("Playground requests of one user in one minute.")

    objects = OrgScopedQuerySet["OrgLimits"].as_manager()

    class Meta:
        verbose_name = verbose_name_plural = "limits"

    def __str__(self) -> str:
        return f"Limits of {self.org}"


class UsageRecord(Row):
    """The ledger: one row for each call that was granted under a limit or whose result was recorded.

    `attempt` identifies the call, so that no call is counted twice. A row is reserved before the call,
    where the org has a limit, and settled with what the call used. Token counts are None where the
    provider did not tell them. Users and experiments are told by their ids alone: the ledger outlives them.
    """

    class Kind(models.TextChoices):
        PLAYGROUND = "playground"
        EXPERIMENT = "experiment"
        JUDGE = "judge"

    class State(models.TextChoices):
        RESERVED = "reserved"
        SETTLED = "settled"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    attempt = models.UUIDField(unique=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.SETTLED)
    day = models.DateField(help_text="The UTC day whose counters hold this call.")
    model_provider = models.CharField(max_length=64)
    model_name = models.CharField(max_length=256)
    user_id = models.UUIDField(null=True)
    experiment_id = models.UUIDField(null=True)
    reserved_tokens = models.PositiveIntegerField(
        null=True, help_text="Tokens held for the call before it was made; empty where no limit asked for it."
    )
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)

    objects = OrgScopedQuerySet["UsageRecord"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["org", "day"], name="quotas_usage_by_day"),
            models.Index(
                fields=["created_at"], condition=models.Q(state="reserved"), name="open_reservations"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.model_provider}/{self.model_name}"


class UsageCounter(models.Model):
    """An org's use in one UTC month, and in the latest day and minute of it in which it used anything.

    The ledger's sums, kept at hand for limits: `calls` and `tokens` are its settled rows, `reserved_calls`
    and `reserved_tokens` those that wait for their call. One row, so that one UPDATE checks every limit.
    """

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    month = models.DateField(help_text="The first day of the month.")
    calls = models.PositiveBigIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    reserved_calls = models.PositiveBigIntegerField(default=0)
    reserved_tokens = models.PositiveBigIntegerField(default=0)
    day = models.DateField()
    day_tokens = models.PositiveBigIntegerField(default=0)
    day_reserved_tokens = models.PositiveBigIntegerField(default=0)
    minute = models.PositiveBigIntegerField(default=0, help_text="Minutes since 1970.")
    minute_requests = models.PositiveBigIntegerField(
        default=0,
        help_text="Calls granted in that minute under a limit; one given up later was made as well.",
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "month"], name="one_counter_per_org_and_month")]

    def __str__(self) -> str:
        return f"{self.org} in {self.month:%Y-%m}: {self.tokens} tokens"


class Sums(models.Model):
    """Settled rows of the ledger, added up as they are settled."""

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="As in the ledger.")
    calls = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.org} on {self.day}: {self.calls} calls"


class UsageSum(Sums):
    """The ledger by day, model and user: reports read few rows, however many experiments there are.

    NOBODY stands for no user.
    """

    model_provider = models.CharField(max_length=64)
    model_name = models.CharField(max_length=256)
    user_id = models.UUIDField(default=NOBODY)

    objects = OrgScopedQuerySet["UsageSum"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["org", "day", "model_provider", "model_name", "user_id"], name="one_usage_sum_each"
            )
        ]


class ExperimentUsage(Sums):
    """The ledger by day and experiment. NOBODY stands for no experiment."""

    experiment_id = models.UUIDField(default=NOBODY)

    objects = OrgScopedQuerySet["ExperimentUsage"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["org", "day", "experiment_id"], name="one_experiment_usage_each")
        ]


class PlaygroundMinute(models.Model):
    """A user's playground requests in the latest minute in which there were any."""

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    user_id = models.UUIDField()
    minute = models.PositiveBigIntegerField(default=0, help_text="Minutes since 1970.")
    requests = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user_id"], name="one_minute_per_org_and_user")]

    def __str__(self) -> str:
        return f"{self.requests} requests of {self.user_id}"
