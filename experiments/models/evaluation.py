"""How good an answer is: metrics, scores, and the evaluators that give scores by themselves."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from experiments.models.experiment import Experiment
from experiments.models.runs import ExperimentRun


class EvalMetricDefinition(Row):
    """A quality that scores measure. `scale` is for people; minimum, maximum and step bind."""

    wire_name = "metric"

    class Direction(models.TextChoices):
        HIGHER = "higher", "higher is better"
        LOWER = "lower", "lower is better"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="metrics")
    key = models.CharField(max_length=64)
    name = models.CharField(max_length=128)
    description = models.TextField(blank=True, default="")
    scale = models.CharField(max_length=64, default="custom")
    minimum = models.FloatField(null=True, blank=True)
    maximum = models.FloatField(null=True, blank=True)
    step = models.FloatField(null=True, blank=True)
    direction = models.CharField(max_length=8, choices=Direction.choices, default=Direction.HIGHER)

    objects = OrgScopedQuerySet["EvalMetricDefinition"].as_manager()

    class Meta:
        ordering = ["key"]
        verbose_name = "metric"
        constraints = [models.UniqueConstraint(fields=["org", "key"], name="one_metric_per_key")]

    def __str__(self) -> str:
        return self.name


class EvaluatorQuerySet(OrgScopedQuerySet["Evaluator"]):
    org_path = "experiment__org"


class Evaluator(Row):
    """An automatic rater attached to an experiment: a kind, its settings, the metric that it scores."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="evaluators")
    metric = models.ForeignKey(EvalMetricDefinition, on_delete=models.RESTRICT, related_name="evaluators")
    kind = models.CharField(max_length=32)
    name = models.CharField(max_length=128)
    config = models.JSONField(default=dict, blank=True)
    enabled = models.BooleanField(default=True)

    objects = EvaluatorQuerySet.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class ScoreQuerySet(OrgScopedQuerySet["EvalScore"]):
    org_path = "run__experiment__org"


class EvalScore(Row):
    """A run's value for a metric, by a person or by an evaluator. A missing score has no row."""

    wire_name = "score"

    run = models.ForeignKey(ExperimentRun, on_delete=models.CASCADE, related_name="scores")
    metric = models.ForeignKey(EvalMetricDefinition, on_delete=models.RESTRICT, related_name="scores")
    value = models.FloatField()
    note = models.TextField(null=True, blank=True)
    rater = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    evaluator = models.ForeignKey(
        Evaluator, null=True, blank=True, on_delete=models.SET_NULL, related_name="scores"
    )

    objects = ScoreQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "score"
        constraints = [
            models.UniqueConstraint(
                fields=["run", "metric", "rater"],
                condition=Q(rater__isnull=False),
                name="one_current_score_per_rater",
            ),
            models.UniqueConstraint(
                fields=["run", "metric", "evaluator"],
                condition=Q(evaluator__isnull=False),
                name="one_current_score_per_evaluator",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric_id}: {self.value}"
