"""The queue of evaluations: judging that calls a model, and whatever is to be evaluated again.

As with cells the rows are the truth, and messages to workers are only hints to look here.
"""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Count, Q

from evalsuite.models import Row
from evalsuite.orgs.querysets import OrgScopedQuerySet
from experiments.models.evaluation import Evaluator
from experiments.models.runs import Batch, ExperimentRun


class EvaluationQuerySet(OrgScopedQuerySet["Evaluation"]):
    org_path = "evaluator__experiment__org"

    def open(self) -> Self:
        return self.filter(state__in=Evaluation.OPEN)

    def counts(self) -> dict[str, int]:
        """How many are `pending`, `done` and `missing`. One query."""
        open_ones = Q(state__in=Evaluation.OPEN)
        return self.order_by().aggregate(
            pending=Count("pk", filter=open_ones),
            done=Count("pk", filter=Q(state=Evaluation.State.DONE)),
            missing=Count("pk", filter=Q(state=Evaluation.State.MISSING)),
        )


class Evaluation(Row):
    """One evaluator's look at one answer. It ends with a score (done), or with the reason why there is none.

    Evaluators that call nobody score with the cell itself: of those there is a row only where somebody
    asked to evaluate again.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        MISSING = "missing"

    OPEN = (State.QUEUED, State.RUNNING)

    run = models.ForeignKey(
        ExperimentRun, on_delete=models.CASCADE, related_name="evaluations", db_index=False
    )
    evaluator = models.ForeignKey(Evaluator, on_delete=models.CASCADE, related_name="evaluations")
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="evaluations", db_index=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    call = models.UUIDField(null=True, help_text="The call of the current attempt, as the ledger knows it.")
    retries = models.PositiveIntegerField(default=0, help_text="After transient failures, since last queued.")
    crashes = models.PositiveIntegerField(default=0)
    asked_again = models.BooleanField(default=False, help_text="The first verdict had no form.")
    not_before = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, default="", help_text="Why there is no score, or not yet.")
    finished_at = models.DateTimeField(null=True)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["run", "evaluator"], name="one_evaluation_each")]
        indexes = [
            models.Index(fields=["batch", "state"]),
            models.Index(
                fields=["evaluator", "id"], condition=Q(state="queued"), name="claimable_evaluations"
            ),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="leased_evaluations"),
        ]

    def __str__(self) -> str:
        return f"{self.evaluator_id} on {self.run_id}"
