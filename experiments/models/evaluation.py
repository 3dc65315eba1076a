"""How good an answer is: metrics, scores, and the evaluators that give scores by themselves."""

from __future__ import annotations

from typing import Self

from django.apps import apps
from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from experiments.models.experiment import Experiment
from experiments.models.runs import ExperimentRun

METRIC_KEY = RegexValidator(r"^[a-z0-9_.-]{1,64}\Z", "Small letters, digits, and . _ - only.")


MOST_COUNTED = 1_000  # uses of a metric: beyond, nobody needs the number, and counting millions takes long


class MetricQuerySet(OrgScopedQuerySet["EvalMetricDefinition"]):
    def with_uses(self) -> Self:
        """Annotate `score_count` and `evaluator_count` (ints), counted up to MOST_COUNTED and no further."""
        return self.annotate(score_count=_uses("EvalScore"), evaluator_count=_uses("Evaluator"))


class _CountOf(Subquery):
    """How many rows a query has, none of which it reads more of than its index."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = models.IntegerField()


def _uses(model: str) -> _CountOf:
    rows = apps.get_model("experiments", model)._default_manager.filter(metric=OuterRef("pk")).order_by()
    return _CountOf(rows.values("metric")[:MOST_COUNTED])


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
    labels = models.JSONField(
        default=dict, blank=True, help_text='Words for values, such as {"1": "useless", "5": "perfect"}.'
    )

    objects = MetricQuerySet.as_manager()

    class Meta:
        ordering = ["key"]
        verbose_name = "metric"
        constraints = [models.UniqueConstraint(fields=["org", "key"], name="one_metric_per_key")]

    def __str__(self) -> str:
        return self.name

    @property
    def scale_words(self) -> str:
        """What binds, for people: "1 to 5 in steps of 0.5"."""
        low, high = self.minimum, self.maximum
        if low is not None and high is not None:
            words = f"{low:.15g} to {high:.15g}"
        elif low is not None:
            words = f"from {low:.15g}"
        else:
            words = "any number" if high is None else f"up to {high:.15g}"
        return f"{words} in steps of {self.step:.15g}" if self.step else words

    @property
    def uses(self) -> str:
        """Where it came by `with_uses`: "3 scores, 1 evaluator"; empty where nothing uses it."""
        counts = {"score": self.score_count, "evaluator": self.evaluator_count}  # type: ignore[attr-defined]
        return ", ".join(_counted(n, word) for word, n in counts.items() if n)

    def label_of(self, value: float) -> str:
        """The word for this value, empty where it has none."""
        return next((str(word) for key, word in self.labels.items() if float(key) == value), "")


def _counted(number: int, word: str) -> str:
    more = " or more" if number >= MOST_COUNTED else ""
    return f"{number:,}{more} {word}{'' if number == 1 else 's'}"


class ThumbQuerySet(OrgScopedQuerySet["Thumb"]):
    org_path = "run__experiment__org"


class Thumb(Row):
    """What one person thinks of an answer, and since when (`created_at`).

    A run's own `thumbs_up` is the one that was set last, so it is null where there is none.
    """

    run = models.ForeignKey(ExperimentRun, on_delete=models.CASCADE, related_name="thumbs")
    rater = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    up = models.BooleanField()

    objects = ThumbQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["run", "rater"], name="one_thumb_per_rater")]

    def __str__(self) -> str:
        return "up" if self.up else "down"


class EvaluatorQuerySet(OrgScopedQuerySet["Evaluator"]):
    org_path = "experiment__org"

    def with_progress(self) -> Self:
        """Annotate how many of its queued evaluations are `pending`, `done` and `missing` (ints)."""
        states = {"pending": ["queued", "running"], "done": ["done"], "missing": ["missing"]}
        return self.annotate(
            **{name: Count("evaluations", filter=Q(evaluations__state__in=of)) for name, of in states.items()}
        )


class Evaluator(Row):
    """An automatic rater attached to an experiment: a kind, its settings, the metric that it scores."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="evaluators")
    metric = models.ForeignKey(EvalMetricDefinition, on_delete=models.RESTRICT, related_name="evaluators")
    kind = models.CharField(max_length=32)
    name = models.CharField(max_length=128)
    config = models.JSONField(default=dict, blank=True)
    enabled = models.BooleanField(default=True)
    permits_due_at = models.DateTimeField(
        null=True, editable=False, help_text="When the sweeper invites workers to its queue again."
    )
    waits_for = models.TextField(
        blank=True, default="", editable=False, help_text="Why its queue stands still, for people."
    )

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

    @property
    def label(self) -> str:
        """The metric's word for the value, empty where it has none. Reads the metric."""
        return self.metric.label_of(self.value)
