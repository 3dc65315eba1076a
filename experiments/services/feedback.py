"""What people think of an answer: thumbs, notes and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from evalsuite.audit.services import record
from evalsuite.errors import Conflict
from evalsuite.metrics.changes import Changes
from evalsuite.metrics.families import THUMBS_DOWN, THUMBS_UP
from evalsuite.orgs.models import Org, User
from experiments.models import EvalScore, ExperimentRun, Thumb
from experiments.services import changes
from experiments.services.counting import scores_changed
from experiments.services.metric_definitions import ensure_metric, require_on_scale

NEEDED = ("thumbs_up", "feedback_note", "experiment", "variant")


def give_feedback(run: ExperimentRun, *, org: Org, actor: User, given: Mapping[str, Any]) -> None:
    """Set this person's thumb (`thumbs_up`) and the run's note (`feedback_note`) where given; None clears.

    The event tells the person's own thumb, before and after. It is counted when it changes.
    """
    with transaction.atomic():
        # One writer at a time: the run's own thumb is that of whoever was last.
        locked = ExperimentRun.objects.select_for_update().only(*NEEDED).get(pk=run.pk)
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if "feedback_note" in given and locked.feedback_note != given["feedback_note"]:
            before["feedbackNote"], after["feedbackNote"] = locked.feedback_note, given["feedback_note"]
            locked.feedback_note = given["feedback_note"]
        if "thumbs_up" in given and (own := _give_thumb(locked, actor, given["thumbs_up"])):
            before["thumbsUp"], after["thumbsUp"] = own
        if not after:
            return
        locked.save(update_fields=["thumbs_up", "feedback_note"])
        record(
            "experiment.feedback.updated", org=org, actor=actor, subject=locked, before=before, after=after
        )
        if before.get("thumbsUp") is not after.get("thumbsUp"):
            _count_thumb(org, locked, up=after["thumbsUp"])


def _give_thumb(run: ExperimentRun, rater: User, up: bool | None) -> tuple[bool | None, bool | None] | None:
    """The rater's thumb before and after, or None where nothing changes. Sets `thumbs_up` of the locked run.

    The same thumb again is a change where somebody else's came after it: the last one set is shown.
    """
    thumbs = Thumb.objects.filter(run=run)
    own = thumbs.filter(rater=rater).values_list("up", flat=True).first()
    others = thumbs.exclude(rater=rater).values_list("up", flat=True)
    shown = others.first() if up is None else up
    if (own, run.thumbs_up) == (up, shown):
        return None
    if up is None:
        thumbs.filter(rater=rater).delete()
    else:
        now = timezone.now()
        Thumb.objects.update_or_create(run=run, rater=rater, defaults={"up": up, "created_at": now})
    run.thumbs_up = shown
    return own, up


def _count_thumb(org: Org, run: ExperimentRun, *, up: bool | None) -> None:
    if up is not None:
        changes = Changes()
        changes.count(THUMBS_UP if up else THUMBS_DOWN, org.pk, run.experiment_id, run.variant_id)
        changes.save()


def give_score(
    run: ExperimentRun, *, org: Org, rater: User, metric_key: str, value: float, note: str | None
) -> EvalScore:
    """This person's score of an answer. An earlier one gives way and stays in the audit log.

    Raises InvalidBody for a value off the metric's scale, Conflict for a run without an answer.
    """
    with transaction.atomic():
        _lock_answered(run)
        metric = ensure_metric(org, metric_key, actor=rater)
        require_on_scale(metric, value)
        score = EvalScore.objects.filter(run=run, metric=metric, rater=rater).first()
        before = _facts(score) if score else None
        score = score or EvalScore(run=run, metric=metric, rater=rater)
        score.value, score.note, score.created_at = value, note, timezone.now()
        score.save()
        scores_changed(run.experiment_id)
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
    with transaction.atomic():
        changes.update(score, org=org, actor=actor, changes=given)
        scores_changed(score.run.experiment_id)


def delete_score(score: EvalScore, *, org: Org, actor: User) -> None:
    """Raises Forbidden for another's score without the right to write."""
    _require_own(score, org, actor)
    with transaction.atomic():
        changes.delete(score, org=org, actor=actor, facts=_facts(score))
        scores_changed(score.run.experiment_id)


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
