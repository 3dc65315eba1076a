"""Metrics: made on first use, and bounds that values must keep."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from evalsuite.audit.services import record
from evalsuite.errors import InvalidBody
from evalsuite.orgs.models import Org, User
from experiments.models import EvalMetricDefinition

STEP_TOLERANCE = 1e-6  # of one step: 0.1 + 0.2 is on a scale of tenths


def ensure_metric(org: Org, key: str, *, actor: User | None) -> EvalMetricDefinition:
    """The org's metric with this key, created (name = key, scale `custom`) where there is none yet.

    Of many requests that come at once exactly one creates it.
    """
    metrics = EvalMetricDefinition.objects.for_org(org)
    metric = metrics.filter(key=key).first()
    if metric is not None:
        return metric
    try:
        with transaction.atomic():
            metric = EvalMetricDefinition.objects.create(org=org, key=key, name=key)
            record(
                "experiment.metric.created", org=org, actor=actor, subject=metric, after={"key": metric.key}
            )
    except IntegrityError:
        return metrics.get(key=key)  # somebody else was faster
    return metric


def require_on_scale(metric: EvalMetricDefinition, value: float) -> None:
    """Raises InvalidBody naming the bounds that the value does not keep."""
    low, high, step = metric.minimum, metric.maximum, metric.step
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = [f"at least {low:g}"] * (low is not None) + [f"at most {high:g}"] * (high is not None)
        raise InvalidBody({"value": [f"On the metric {metric.key} this must be {' and '.join(bounds)}."]})
    if step:
        steps = (value - (low or 0)) / step
        if abs(steps - round(steps)) > STEP_TOLERANCE:
            raise InvalidBody(
                {
                    "value": [
                        f"On the metric {metric.key} this must go in steps of {step:g} from {low or 0:g}."
                    ]
                }
            )
