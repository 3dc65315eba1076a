"""Several metrics that mean the same become one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet

from evalsuite.audit import changes as audited
from evalsuite.audit.services import Event, record, record_many
from evalsuite.errors import Conflict
from evalsuite.metrics.changes import Changes
from evalsuite.orgs.models import User
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    EvalScore,
    Evaluation,
    Evaluator,
    Experiment,
)
from experiments.services.counting import scores_of
from experiments.services.metric_definitions import off_scale

AT_ONCE = 1_000  # rows


def merge_metrics(
    survivor: EvalMetricDefinition, others: Collection[EvalMetricDefinition], *, actor: User
) -> dict[str, int]:
    """Scores and evaluators of the others become the survivor's, and the others go: all of it or nothing.

    Where one person, or one evaluator, has scored a run under several of them, the newest score stands;
    older ones go, each with an event that tells it. Answers how many `scores` and `evaluators` moved,
    and how many were `superseded`.

    Raises Conflict where they are not of one org, point in opposite directions, have scores off the
    survivor's scale, or where a batch or an evaluation that may score them is under way.
    """
    ids = {metric.pk for metric in others} - {survivor.pk}
    with transaction.atomic():
        locked = EvalMetricDefinition.objects.select_for_update().order_by("pk")
        found = {metric.pk: metric for metric in locked.filter(pk__in=[*ids, survivor.pk])}
        if len(found) != len(ids) + 1 or not ids:
            raise Conflict("Choose at least two metrics that are there, one of which survives.")
        survivor, gone = found[survivor.pk], [found[pk] for pk in sorted(ids)]
        evaluators = list(
            Evaluator.objects.filter(metric__in=ids)
            .select_for_update(of=("self",))
            .select_related("experiment__org", "metric")
            .order_by("pk")
        )
        _require_alike(survivor, gone)
        _require_quiet(evaluators)
        scores = EvalScore.objects.filter(metric__in=ids)
        _require_on_scale(survivor, scores)
        experiments = list(scores.order_by().values_list("run__experiment", flat=True).distinct())
        superseded = _drop_older(EvalScore.objects.filter(metric__in=found), survivor, actor)
        counts = {"scores": scores.update(metric=survivor), "superseded": superseded}
        counts["evaluators"] = _hand_over(evaluators, survivor, actor)
        _remove(gone, survivor, counts, actor)
        changes = Changes()
        changes.touch([scores_of(experiment) for experiment in experiments])
        changes.save()
    return counts


def _require_alike(survivor: EvalMetricDefinition, gone: Collection[EvalMetricDefinition]) -> None:
    for metric in gone:
        if metric.org_id != survivor.org_id:
            raise Conflict("Metrics of several organisations cannot be merged.")
        if metric.direction != survivor.direction:
            raise Conflict(f"{survivor.key} and {metric.key} point in opposite directions.")


def _require_quiet(evaluators: Collection[Evaluator]) -> None:
    """Whoever scores now knows its metric by heart. New batches and evaluations wait for our locks."""
    experiments = sorted({evaluator.experiment_id for evaluator in evaluators})
    list(Experiment.objects.select_for_update().filter(pk__in=experiments).order_by("pk").values_list("pk"))
    batches = Batch.objects.filter(experiment__in=experiments, finished_at=None)
    if batches.exists() or Evaluation.objects.open().filter(evaluator__in=evaluators).exists():
        raise Conflict("A batch or an evaluation that scores these metrics is under way. Wait for its end.")


def _require_on_scale(survivor: EvalMetricDefinition, scores: QuerySet[EvalScore]) -> None:
    ends = scores.aggregate(low=Min("value"), high=Max("value"))
    wrong = _off(survivor, [value for value in ends.values() if value is not None])
    if wrong is None and survivor.step:
        # Closed before anything is raised: its cursor ends with the transaction, and not after it.
        given: Any = scores.order_by().values_list("value", flat=True).distinct().iterator()
        with closing(given) as values:
            wrong = _off(survivor, values)
    if wrong:
        raise Conflict(wrong)


def _off(metric: EvalMetricDefinition, values: Iterable[float]) -> str | None:
    for value in values:
        if (reason := off_scale(metric, value)) is not None:
            return f"There is a score of {value:g}, which is off the scale. {reason}"
    return None


def _drop_older(scores: QuerySet[EvalScore], survivor: EvalMetricDefinition, actor: User) -> int:
    """All but the newest of each run and rater, and of each run and evaluator."""
    same = Q(rater=OuterRef("rater")) | Q(evaluator=OuterRef("evaluator"))
    newer = Q(created_at__gt=OuterRef("created_at"))
    newer |= Q(created_at=OuterRef("created_at"), pk__gt=OuterRef("pk"))
    fresher = scores.order_by().filter(same, newer, run=OuterRef("run"))
    older = scores.filter(Exists(fresher)).select_related("metric").order_by("pk")
    dropped = 0
    while rows := list(older[:AT_ONCE]):
        record_many(
            Event(
                "experiment.score.deleted", survivor.org, actor, row, _told(row), {"mergedInto": survivor.key}
            )
            for row in rows
        )
        dropped += len(rows)
        EvalScore.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return dropped


def _told(score: EvalScore) -> dict[str, Any]:
    facts = audited.told(score, ["run", "value", "note", "rater", "evaluator", "created_at"])
    return {**facts, "metricKey": score.metric.key}


def _hand_over(evaluators: Collection[Evaluator], survivor: EvalMetricDefinition, actor: User) -> int:
    for evaluator in evaluators:
        org = evaluator.experiment.org
        event = "experiment.evaluator.updated"
        audited.update(evaluator, event, org=org, actor=actor, changes={"metric": survivor})
    return len(evaluators)


def _remove(
    gone: Collection[EvalMetricDefinition],
    survivor: EvalMetricDefinition,
    counts: dict[str, int],
    actor: User,
) -> None:
    names = ["key", "name", "description", "scale", "minimum", "maximum", "step", "labels"]
    for metric in gone:
        facts = audited.told(metric, names)
        record("experiment.metric.deleted", org=survivor.org, actor=actor, subject=metric, before=facts)
        metric.delete()
    record(
        "experiment.metric.merged",
        org=survivor.org,
        actor=actor,
        subject=survivor,
        after={"key": survivor.key, "from": [metric.key for metric in gone], **counts},
    )
