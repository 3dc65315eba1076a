"""What was run: batches, their cells, and every call that was made for a cell.

The rows are the truth about a batch; messages to workers are only hints to look here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models import BooleanField, Case, Count, IntegerField, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Now

from evalsuite.models import Row
from evalsuite.orgs.models import Org, User
from evalsuite.orgs.querysets import OrgScopedQuerySet
from experiments.models.experiment import Experiment, ExperimentInput, ExperimentVariant
from experiments.models.tally import Tally
from llm_routing.models import RegisteredModel


class BatchQuerySet(OrgScopedQuerySet["Batch"]):
    org_path = "experiment__org"

    def newest_and(self, count: int, named: Iterable[UUID | None]) -> Self:
        """So many of the newest, and those with these ids."""
        newest = self.order_by("-id").values("pk")[:count]
        return self.filter(Q(pk__in=newest) | Q(pk__in=[pk for pk in named if pk])).order_by("-id")

    def to_look_at(self) -> Self:
        """With all that `progress.look_at` needs of a batch itself."""
        return self.select_related("author").annotate(db_now=Now())

    def with_progress(self) -> Self:
        """Annotate the number of cells in each state, as `queued`, `running`, ... (ints).

        And that of the queued evaluations, as `evaluations_pending`, `_done` and `_missing`. By subqueries,
        so that a page of batches counts what is in its own batches only.
        """
        cells = {state.value: _count_in("ExperimentRun", [state]) for state in ExperimentRun.State}
        evaluations = {name: _count_in("Evaluation", states) for name, states in EVALUATIONS.items()}
        return self.annotate(**cells, **evaluations)


EVALUATIONS = {
    "evaluations_pending": ["queued", "running"],
    "evaluations_done": ["done"],
    "evaluations_missing": ["missing"],
}


def _count_in(model: str, states: Sequence[str]) -> Coalesce:
    rows = apps.get_model("experiments", model)._default_manager.filter(batch=OuterRef("pk"))
    counted = rows.filter(state__in=states).order_by().values("batch").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=models.IntegerField()), 0)


class Batch(Row):
    """One press of Run. `total` is fixed when it is planned; it ends when that many cells are closed."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        FINISHED = "finished"
        CANCELLED = "cancelled"

    class PausedReason(models.TextChoices):
        """Why a batch stands still; empty while it does not."""

        PERSON = "person"  # somebody pressed Pause
        QUOTA = "quota"  # a limit of the org; it goes on by itself when there is room
        BUDGET = "budget"  # its own token budget is used up

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="batches")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    parallel = models.PositiveIntegerField(default=16, help_text="Most cells in the air at once.")
    repeats = models.PositiveIntegerField(default=1)
    at_most_once = models.BooleanField(
        default=False, help_text="A call that may have reached the model is never made again by itself."
    )
    use_cache = models.BooleanField(default=False, help_text="Equal earlier answers are taken over.")
    token_budget = models.PositiveBigIntegerField(
        null=True, help_text="The batch pauses when its calls have used so many tokens."
    )
    tokens = models.PositiveBigIntegerField(default=0, help_text="Used by its recorded calls so far.")
    paused_reason = models.CharField(max_length=16, choices=PausedReason.choices, blank=True)
    paused_note = models.TextField(blank=True, default="", help_text="The reason in words, for people.")
    resume_at = models.DateTimeField(null=True, help_text="When the sweeper lets a paused batch go on.")
    traceparent = models.CharField(
        max_length=55, blank=True, default="", editable=False, help_text="Where the trace of Run is found."
    )
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

    @property
    def waits_for_a_person(self) -> bool:
        """It stands still, and does not go on by itself."""
        return self.state == self.State.PAUSED and self.paused_reason != self.PausedReason.QUOTA

    def __str__(self) -> str:
        return f"batch of {self.created_at:%Y-%m-%d %H:%M}"


class RunQuerySet(OrgScopedQuerySet["ExperimentRun"]):
    org_path = "experiment__org"

    def with_tally(self, viewer: User) -> Self:
        """Annotate what `tally` tells. Where nobody has given a thumb, nothing is looked up."""
        thumbs = apps.get_model("experiments.Thumb")._default_manager.filter(run=OuterRef("pk")).order_by()
        counted = thumbs.values("run").annotate(n=Count("pk")).values("n")
        unrated = When(thumbs_up=None, then=Value(None))
        return self.annotate(
            ups=Case(unrated, default=Subquery(counted.filter(up=True)), output_field=IntegerField()),
            downs=Case(unrated, default=Subquery(counted.filter(up=False)), output_field=IntegerField()),
            own=Case(
                unrated,
                default=Subquery(thumbs.filter(rater=viewer.pk).values("up")[:1]),
                output_field=BooleanField(),
            ),
        )


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
    # As `is_cached` tells it of a row.
    TAKEN_OVER = Q(cached_from__isnull=False) | Q(cached_latency_ms__isnull=False, latency_ms=None)

    # Without indexes of their own: those below begin with them, and each one is written with every change.
    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="runs", db_index=False)
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="runs", db_index=False)
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
    load_key = models.CharField(
        max_length=64, blank=True, help_text="Load-time options: cells that differ in it reload the model."
    )
    request_hash = models.CharField(
        max_length=64, blank=True, help_text="Of all that decides the answer; empty where chance does."
    )
    cached_from = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text="Whose answer this is.",
    )
    cached_latency_ms = models.PositiveIntegerField(
        null=True, help_text="How long the original took; a cached answer has no latency of its own."
    )
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

    ups: int | None  # by `with_tally`, as the two below
    downs: int | None
    own: bool | None

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
            models.Index(
                fields=["request_hash"],
                condition=Q(state="succeeded") & ~Q(request_hash=""),
                name="cached_answers",
            ),
            models.Index(fields=["cached_from"], condition=Q(cached_from__isnull=False), name="cached_cells"),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="leased_cells"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"

    @property
    def tally(self) -> Tally:
        """Of all thumbs, as `with_tally` has found them."""
        return Tally(self.ups or 0, self.downs or 0, self.own)

    @property
    def is_closed(self) -> bool:
        return self.state in self.CLOSED

    @property
    def is_cached(self) -> bool:
        """An earlier answer, taken over; also where the run that it was taken from is gone."""
        return self.cached_from_id is not None or (
            self.cached_latency_ms is not None and self.latency_ms is None
        )


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


class IdempotencyKey(models.Model):
    """A caller's name for one press of Run, so that the same request sent again starts nothing new."""

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the route and the body.")
    batch = models.ForeignKey(Batch, null=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user", "key"], name="one_request_per_key")]
        indexes = [models.Index(fields=["created_at"])]

    def __str__(self) -> str:
        return self.key


class SweepTurn(models.Model):
    """Whose turn it is to sweep: a single row, taken by conditional update."""

    name = models.CharField(primary_key=True, max_length=32)
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
