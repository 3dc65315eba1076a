"""Metrics: made by people or on first use, and the scale that their values must keep."""

from __future__ import annotations

import math
import re
from typing import Any

from django.db import IntegrityError, connection, transaction

from evalsuite.audit.services import record
from evalsuite.errors import InvalidBody
from evalsuite.orgs.models import Org, User
from experiments.models import EvalMetricDefinition
from experiments.services import changes
from experiments.services.figures import OF_EVERY_CELL

STEP_TOLERANCE = 1e-6  # of one step: 0.1 + 0.2 is on a scale of tenths
MOST_LABELS, LONGEST_LABEL = 101, 64  # each percent may have its word
PLAIN_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
SCALE = ("minimum", "maximum", "step", "labels")


class OffScale(InvalidBody):
    """A value that the metric does not allow. The bounds are in the details, beside the words."""

    def __init__(self, metric: EvalMetricDefinition, reason: str) -> None:
        super().__init__({"value": [reason]})
        self.details |= {"minimum": metric.minimum, "maximum": metric.maximum, "step": metric.step}


def create_metric(*, org: Org, author: User, **fields: Any) -> EvalMetricDefinition:
    """The name defaults to the key. Raises InvalidBody for a key that results have for themselves or a scale
    that contradicts itself, Conflict where the org has a metric of that key.
    """
    require_free("key", fields["key"])
    metric = EvalMetricDefinition(org=org, **{"name": fields["key"], **fields})
    require_sound(metric)
    changes.create(metric, org=org, actor=author, facts=changes.told(metric, list(fields)))
    return metric


def require_free(field: str, key: str) -> None:
    """Raises InvalidBody for a key under which results and comparisons tell of something else."""
    if key in OF_EVERY_CELL:
        reason = f"{key} is what results call a figure of their own. Choose another key, such as my_{key}."
        raise InvalidBody({field: [reason]})


def update_metric(metric: EvalMetricDefinition, *, actor: User, **fields: Any) -> None:
    """Its key stays, and so do scores that were given on the old scale. Raises InvalidBody."""
    with transaction.atomic():
        # As it is now: two changes at once, each sound by itself, may contradict each other.
        now = EvalMetricDefinition.objects.select_for_update(of=("self",)).get(pk=metric.pk)
        for name in SCALE:
            setattr(metric, name, getattr(now, name))
            setattr(now, name, fields.get(name, getattr(now, name)))
        require_sound(now)
        changes.update(metric, org=metric.org, actor=actor, changes=fields)


def require_sound(metric: EvalMetricDefinition) -> None:
    """Raises InvalidBody naming what of the metric's scale contradicts itself."""
    problems: dict[str, list[str]] = {}
    for name in ("minimum", "maximum", "step"):
        value = getattr(metric, name)
        if value is not None and not math.isfinite(value):
            problems[name] = ["This must be a finite number."]
    if not problems:
        low, high, step = metric.minimum, metric.maximum, metric.step
        if low is not None and high is not None and low >= high:
            problems["maximum"] = ["This must be greater than the minimum."]
        elif step is not None and step <= 0:
            problems["step"] = ["This must be greater than 0."]
        elif None not in (low, high, step) and step > high - low:  # type: ignore[operator]
            problems["step"] = ["This must not be greater than the range."]
        elif wrong := _wrong_labels(metric):
            problems["labels"] = wrong
    if problems:
        raise InvalidBody(problems)


def _wrong_labels(metric: EvalMetricDefinition) -> list[str]:
    labels = metric.labels
    if len(labels) > MOST_LABELS:
        return [f"There may be at most {MOST_LABELS} labels."]
    wrong = []
    seen: dict[float, str] = {}
    for key, words in labels.items():
        if not PLAIN_NUMBER.fullmatch(key):
            wrong.append(f"{key[:32]!r} is no number that a value can be.")
        elif (reason := off_scale(metric, float(key))) is not None:
            wrong.append(f"{key} is not on the scale: {reason}")
        elif (other := seen.setdefault(float(key), key)) != key:
            wrong.append(f"{key} and {other} are the same value.")
        if not isinstance(words, str) or not words.strip() or len(words) > LONGEST_LABEL:
            wrong.append(f"The label of {key[:32]} must be a text of 1 to {LONGEST_LABEL} characters.")
    return wrong


def ensure_metric(org: Org, key: str, *, actor: User | None) -> EvalMetricDefinition:
    """The org's metric with this key, created (name = key, scale `custom`) where there is none yet.

    It stays until the transaction around this ends, so that no merge takes it away from what is given under
    it. Of many requests that come at once exactly one creates it. Raises InvalidBody as `create_metric`.
    """
    metrics = EvalMetricDefinition.objects.for_org(org)
    metric = metrics.filter(key=key).first()
    if metric is not None and _is_held(metric):
        return metric
    require_free("metricKey", key)
    try:
        with transaction.atomic():
            metric = EvalMetricDefinition.objects.create(org=org, key=key, name=key)
            record(
                "experiment.metric.created", org=org, actor=actor, subject=metric, after={"key": metric.key}
            )
    except IntegrityError:
        return metrics.get(key=key)  # somebody else was faster
    return metric


def _is_held(metric: EvalMetricDefinition) -> bool:
    """False where it has gone meanwhile. Django knows no lock that many can have; SQLite has one writer."""
    if not connection.features.has_select_for_update:
        return True
    with connection.cursor() as cursor:
        table = EvalMetricDefinition._meta.db_table
        cursor.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR KEY SHARE", [metric.pk])  # noqa: S608
        return cursor.fetchone() is not None


def require_on_scale(metric: EvalMetricDefinition, value: float) -> None:
    """Raises OffScale naming the bounds that the value does not keep."""
    if (reason := off_scale(metric, value)) is not None:
        raise OffScale(metric, reason)


def off_scale(metric: EvalMetricDefinition, value: float) -> str | None:
    """Why the metric cannot have this value; None where it can."""
    low, high, step = metric.minimum, metric.maximum, metric.step
    if not math.isfinite(value):
        return "This must be a finite number."
    if (low is not None and value < low) or (high is not None and value > high):
        ends = (("least", low), ("most", high))
        bounds = [f"at {word} {bound:.15g}" for word, bound in ends if bound is not None]
        return f"On the metric {metric.key} this must be {' and '.join(bounds)}."
    if step:
        steps = (value - (low or 0)) / step
        if not math.isfinite(steps) or abs(steps - round(steps)) > STEP_TOLERANCE:
            return f"On the metric {metric.key} this must go in steps of {step:.15g} from {low or 0:.15g}."
    return None
