"""What was run: batches, their cells, and every call that was made for a cell.

The rows are the truth about a batch; messages to workers are only hints to look here.
"""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from evalsuite.models import Row
from evalsuite.orgs.querysets import OrgScopedQuerySet
from experiments.models.experiment import Experiment, ExperimentInput, ExperimentVariant
from llm_routing.models import RegisteredModel


class BatchQuerySet(OrgScopedQuerySet["Batch"]):
    org_path = "experiment__org"

    def with_progress(self) -> Self:
        """Annotate the number of cells in each state, as `queued`, `running`, ... (ints).

        By subqueries, so that a page of batches counts the cells of its own batches only.
        """
        return self.annotate(**{state.value: _cells_in(state) for state in ExperimentRun.State})


def _cells_in(state: ExperimentRun.State) -> Coalesce:
    cells = ExperimentRun.objects.filter(batch=OuterRef("pk"), state=state).order_by()
    counted = cells.values("batch").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=models.IntegerField()), 0)


class Batch(Row):
    """One press of Run. `total` is fixed when it is planned; it ends when that many cells are closed."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        FINISHED = "finished"
        CANCELLED = "cancelled"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="batches")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    parallel = models.PositiveIntegerField(default=16, help_text="Most cells in the air at once.")
    repeats = models.PositiveIntegerField(default=1)
    total = models.PositiveIntegerField()
    permits_due_at = models.DateTimeField(
        null=True, help_text="When the sweeper hands out permits again, unless a worker was here."
    )
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = BatchQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=["experiment", "-id"]),
            models.Index(fields=["state"], condition=Q(state="running"), name="open_batches"),
        ]

    def __str__(self) -> str:
        return f"batch of {self.created_at:%Y-%m-%d %H:%M}"


class RunQuerySet(OrgScopedQuerySet["ExperimentRun"]):
    org_path = "experiment__org"


class ExperimentRun(Row):
    """One cell: one variant on one input, once.

    What was sent is a snapshot taken when the batch was planned. Durations are milliseconds:
    `latency_ms` is the whole call, `queue_ms` the wait in our own queue before it; the others
    are its parts, None where the provider does not tell them.
    """

    wire_name = "run"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    CLOSED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="runs")
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="runs")
    variant = models.ForeignKey(ExperimentVariant, on_delete=models.RESTRICT, related_name="runs")
    input = models.ForeignKey(ExperimentInput, on_delete=models.RESTRICT, related_name="runs")
    repeat = models.PositiveIntegerField(default=1)
    position = models.PositiveIntegerField(help_text="Order of work in the batch, one model after the other.")

    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    retries = models.PositiveIntegerField(default=0, help_text="After transient failures, since last queued.")
    crashes = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)

    model = models.ForeignKey(RegisteredModel, null=True, on_delete=models.SET_NULL, related_name="+")
    model_provider = models.CharField(max_length=64)
    model_name = models.CharField(max_length=256)
    model_digest = models.CharField(max_length=128, blank=True)
    temperature = models.FloatField()
    top_p = models.FloatField()
    max_tokens = models.PositiveIntegerField(null=True)
    parameters = models.JSONField(default=dict)
    messages = models.JSONField(default=list)
    snapshot = models.JSONField(
        default=dict, help_text="Names and versions of what the messages were made of."
    )

    output = models.TextField(blank=True, default="")
    thinking = models.TextField(blank=True, default="")
    tool_calls = models.JSONField(default=list)
    stop_reason = models.CharField(max_length=64, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True, default="")
    latency_ms = models.PositiveIntegerField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    queue_ms = models.PositiveIntegerField(null=True)
    first_token_ms = models.FloatField(null=True)
    provider_wait_ms = models.FloatField(null=True)
    load_ms = models.FloatField(null=True)
    prompt_ms = models.FloatField(null=True)
    decode_ms = models.FloatField(null=True)
    tokens_per_second = models.FloatField(null=True)
    cold_start = models.BooleanField(default=False)
    may_be_cut = models.BooleanField(default=False)

    evaluation_notes = models.JSONField(default=dict, help_text="By evaluator: why it gave no score.")
    thumbs_up = models.BooleanField(null=True)
    feedback_note = models.TextField(null=True, blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "run"
        constraints = [
            models.UniqueConstraint(fields=["batch", "variant", "input", "repeat"], name="one_cell_each")
        ]
        indexes = [
            models.Index(fields=["experiment", "-id"]),
            models.Index(fields=["batch", "state"]),
            models.Index(
                fields=["batch", "model", "position"], condition=Q(state="queued"), name="claimable_cells"
            ),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="leased_cells"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"

    @property
    def is_closed(self) -> bool:
        return self.state in self.CLOSED


class RunAttempt(models.Model):
    """One call to a provider, written before the call is made. No outcome yet: it is in the air."""

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        RETRY = "retry"
        LOST = "lost"

    id = models.UUIDField(primary_key=True, editable=False)
    run = models.ForeignKey(ExperimentRun, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, choices=Outcome.choices, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_attempt_per_number")]

    def __str__(self) -> str:
        return f"attempt {self.number}"


class SweepTurn(models.Model):
    """Whose turn it is to sweep: a single row, taken by conditional update."""

    name = models.CharField(primary_key=True, max_length=32)
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
