"""Where figures are kept, so that they are true over all processes and outlive each of them."""

from __future__ import annotations

from django.db import models


class Change(models.Model):
    """What one transaction adds. Nobody but the fold ever locks or changes a row of it."""

    text = models.TextField(help_text="JSON: [[metric, labels, numbers], ...] and subjects that changed.")

    def __str__(self) -> str:
        return f"change {self.pk}"


class Total(models.Model):
    """One series: all its changes so far.

    `numbers` are [n] of a counter, [sum, n of each bucket] of a histogram.
    `experiment` and `variant` are those that its labels name, where they do.
    """

    key = models.TextField(unique=True, help_text="JSON: [metric, label, ...].")
    numbers = models.JSONField()
    experiment = models.UUIDField(null=True)
    variant = models.UUIDField(null=True)

    class Meta:
        indexes = [models.Index(fields=["experiment", "variant"], name="metrics_total_scope")]

    def __str__(self) -> str:
        return self.key


class Figure(models.Model):
    """Gauges that cost too much to be asked for each time, as they were at `computed_at`.

    `stale`: something has changed since.
    """

    subject = models.CharField(primary_key=True, max_length=64)
    samples = models.JSONField(default=list, help_text="JSON: [[metric, labels, value], ...]")
    stale = models.BooleanField(default=True)
    computed_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(help_text="Not computed before, even where it is stale.")

    def __str__(self) -> str:
        return self.subject
