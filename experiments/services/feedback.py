"""What people think of an answer: thumbs, notes and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from evalsuite.audit.services import record
from evalsuite.errors import Conflict
from evalsuite.metrics import THUMBS_DOWN, THUMBS_UP
from evalsuite.orgs.models import Org, User
from experiments.models import EvalScore, ExperimentRun
from experiments.services import changes
from experiments.services.metric_definitions import ensure_metric, require_on_scale

FIELDS = ("thumbs_up", "feedback_note")


def give_feedback(run: ExperimentRun, *, org: Org, actor: User, given: Mapping[str, Any]) -> None:
    """Set `thumbs_up` and `feedback_note` where given; None clears. Counted when the thumb changes."""
    with transaction.atomic():
        locked = (
            ExperimentRun.objects.select_for_update().only(*FIELDS, "experiment", "variant").get(pk=run.pk)
        )
        names = [name for name in FIELDS if name in given and getattr(locked, name) != given[name]]
        if not names:
            return
        before = changes.told(locked, names)
        for name in names:
            setattr(locked, name, given[name])
        locked.save(update_fields=names)
        after = changes.told(locked, names)
        record(
            "experiment.feedback.updated", org=org, actor=actor, subject=locked, before=before, after=after
        )
        if "thumbs_up" in names:
            transaction.on_commit(lambda: _count_thumb(org, locked))


def _count_thumb(org: Org, run: ExperimentRun) -> None:
    if run.thumbs_up is not None:
        counter = THUMBS_UP if run.thumbs_up else THUMBS_DOWN
        counter.labels(str(org.pk), str(run.experiment_id), str(run.variant_id)).inc()


def give_score(
    run: ExperimentRun, *, org: Org, rater: User, metric_key: str, value: float, note: str | None
) -> EvalScore:
    """This person's score of an answer. An earlier one gives way and stays in the audit log.

    Raises InvalidBody for a value off the metric's scale, Conflict for a run without an answer.
    """
    with transaction.atomic():
        metric = ensure_metric(org, metric_key, actor=rater)
        require_on_scale(metric, value)
        _lock_answered(run)
        score = EvalScore.objects.filter(run=run, metric=metric, rater=rater).first()
        before = _facts(score) if score else None
        score = score or EvalScore(run=run, metric=metric, rater=rater)
        score.value, score.note, score.created_at = value, note, timezone.now()
        score.save()
        record(
            "experiment.score.created",
            org=org,
            actor=rater,
            subject=score,
            before=before,
            after=_facts(score),
        )
    return score


def _lock_answered(run: ExperimentRun) -> None:
    """One writer of scores for a run at a time: the second one finds the score of the first."""
    locked = ExperimentRun.objects.select_for_update().only("state").get(pk=run.pk)
    if locked.state != ExperimentRun.State.SUCCEEDED:
        raise Conflict("This run has no answer to score.", state=locked.state)


def change_score(score: EvalScore, *, org: Org, actor: User, given: Mapping[str, Any]) -> None:
    """Raises Forbidden for another's score without the right to write, InvalidBody off the scale."""
    _require_own(score, org, actor)
    if "value" in given:
        require_on_scale(score.metric, given["value"])
    changes.update(score, org=org, actor=actor, changes=given)


def delete_score(score: EvalScore, *, org: Org, actor: User) -> None:
    """Raises Forbidden for another's score without the right to write."""
    _require_own(score, org, actor)
    changes.delete(score, org=org, actor=actor, facts=_facts(score))


def _require_own(score: EvalScore, org: Org, actor: User) -> None:
    if score.rater_id != actor.pk:
        org.require(actor, "org:experiments:write")


def _facts(score: EvalScore) -> dict[str, Any]:
    return {
        "runId": str(score.run_id),
        "metricKey": score.metric.key,
        "value": score.value,
        "note": score.note,
    }
