"""What is tested: a task, its test set, and the ways of solving it that compete."""

from __future__ import annotations

from typing import Self

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models import Count, Exists, OuterRef, Subquery
from django.db.models.functions import Coalesce

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from llm_routing.models import ChatProfile


class ExperimentQuerySet(OrgScopedQuerySet["Experiment"]):
    def as_it_stands(self) -> Self:
        """With `input_count`, `under_way` (the state of a batch that has not ended, or None), and
        `has_answers` (in batches that have ended).
        """
        batches = apps.get_model("experiments.Batch")._default_manager.filter(experiment=OuterRef("pk"))
        # Batch by batch: an index leads to the answers of each.
        answers = apps.get_model("experiments.ExperimentRun")._default_manager.filter(
            batch=OuterRef("pk"), state="succeeded"
        )
        return self.annotate(
            input_count=_count_of("experiments.ExperimentInput"),
            under_way=Subquery(batches.filter(finished_at=None).values("state")[:1]),
            has_answers=Exists(batches.filter(Exists(answers), finished_at__isnull=False)),
        )

    def with_counts(self) -> Self:
        """Annotate `variant_count`, `input_count` and `run_count` (ints)."""
        return self.annotate(
            variant_count=_count_of("experiments.ExperimentVariant"),
            input_count=_count_of("experiments.ExperimentInput"),
            run_count=_count_of("experiments.ExperimentRun"),
        )


def _count_of(model: str) -> Coalesce:
    """A subquery for each count: joins of several to-many relations would multiply each other."""
    rows = apps.get_model(model)._default_manager.filter(experiment=OuterRef("pk")).order_by()
    counted = rows.values("experiment").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=models.IntegerField()), 0)


class Experiment(Row):
    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="experiments")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    name = models.CharField(max_length=256)
    description = models.TextField(blank=True, default="")
    type = models.CharField(max_length=64, default="prompt_eval")
    metadata = models.JSONField(default=dict, blank=True)
    baseline = models.ForeignKey(
        "experiments.Batch",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The batch that new ones are compared with.",
    )
    updated_at = models.DateTimeField(auto_now=True)

    objects = ExperimentQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["org", "-id"])]

    def __str__(self) -> str:
        return self.name


class VariantQuerySet(OrgScopedQuerySet["ExperimentVariant"]):
    org_path = "experiment__org"


class ExperimentVariant(Row):
    """A prompt with its settings. `config` is kept as it came; llm-related keys in it are validated."""

    wire_name = "variant"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="variants")
    name = models.CharField(max_length=128)
    description = models.TextField(blank=True, default="")
    chat_profile = models.ForeignKey(
        ChatProfile, null=True, blank=True, on_delete=models.RESTRICT, related_name="variants"
    )
    system_prompt = models.TextField(blank=True, default="")
    config = models.JSONField(default=dict, blank=True)

    objects = VariantQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        verbose_name = "variant"

    def __str__(self) -> str:
        return self.name


class InputQuerySet(OrgScopedQuerySet["ExperimentInput"]):
    org_path = "experiment__org"


class ExperimentInput(Row):
    """One test case. `expected` is the reference answer; no prompt ever sees it."""

    wire_name = "input"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="inputs")
    key = models.CharField(max_length=128)
    content = models.TextField()
    expected = models.TextField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = InputQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        verbose_name = "input"
        constraints = [models.UniqueConstraint(fields=["experiment", "key"], name="one_input_per_key")]
        indexes = [models.Index(fields=["experiment", "-id"])]

    def __str__(self) -> str:
        return self.key
