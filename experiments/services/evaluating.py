"""Evaluate again: evaluators look once more at answers that are there, and no tested model is called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from evalsuite.audit.services import record
from evalsuite.clock import in_seconds
from evalsuite.errors import Conflict, InvalidBody, NotFound
from evalsuite.orgs.models import User
from evalsuite.quotas import services as quotas
from experiments.models import Batch, EvalScore, Evaluation, Evaluator, Experiment, ExperimentRun
from experiments.services import permits

STATE = Evaluation.State
AT_ONCE = 2_000  # rows


def evaluate_again(
    experiment: Experiment,
    *,
    actor: User | None,
    batch: Batch | None = None,
    evaluator_ids: Collection[UUID] | None = None,
    only_missing: bool = False,
) -> int:
    """Queue all answers of finished batches (or of this one) for these evaluators, else for all enabled.

    `only_missing`: just where an evaluator has given no score, and is not about to. Answers how many
    evaluations were queued. Raises Conflict where the batch is under way or there is nobody to evaluate,
    NotFound and InvalidBody for evaluators that are not there or are switched off.
    """
    if batch is not None and batch.finished_at is None:
        raise Conflict("This batch is under way. Evaluate it again when it has ended.", state=batch.state)
    evaluators = _chosen(experiment, evaluator_ids)
    runs = ExperimentRun.objects.filter(experiment=experiment, state=ExperimentRun.State.SUCCEEDED)
    runs = runs.filter(batch=batch) if batch is not None else runs.filter(batch__finished_at__isnull=False)
    ids = [evaluator.pk for evaluator in evaluators]
    with transaction.atomic():
        queued = [_queue(runs, evaluator, actor, only_missing=only_missing) for evaluator in evaluators]
        count = sum(number for number, _ in queued)
        record(
            "experiment.evaluation.started",
            org=experiment.org,
            actor=actor,
            subject=batch or experiment,
            after={
                "evaluations": count,
                "evaluators": [evaluator.name for evaluator in evaluators],
                "onlyMissing": only_missing,
            },
        )
        Evaluator.objects.filter(pk__in=ids).update(permits_due_at=in_seconds(permits.GRACE_S))
        if count:
            transaction.on_commit(lambda: _invite(ids))
        quotas.release([call for _, calls in queued for call in calls])  # last: others wait for the counters
    return count


def _chosen(experiment: Experiment, ids: Collection[UUID] | None) -> Sequence[Evaluator]:
    evaluators = experiment.evaluators.order_by("id")
    if ids is None:
        enabled = list(evaluators.filter(enabled=True))
        if not enabled:
            raise Conflict("The experiment has no evaluator that is switched on.")
        return enabled
    found = list(evaluators.filter(pk__in=ids))
    missing = set(ids).difference(evaluator.pk for evaluator in found)
    if missing:
        raise NotFound("evaluator", ids=sorted(map(str, missing)))
    off = [evaluator.name for evaluator in found if not evaluator.enabled]
    if off:
        raise InvalidBody({"evaluatorIds": [f"{name} is switched off." for name in off]})
    return found


def _queue(
    runs: QuerySet[ExperimentRun], evaluator: Evaluator, actor: User | None, *, only_missing: bool
) -> tuple[int, list[UUID]]:
    """How many were queued, and the calls in the air that nobody waits for any more."""
    mine = Evaluation.objects.filter(run=OuterRef("pk"), evaluator=evaluator)
    if only_missing:
        scored = EvalScore.objects.filter(run=OuterRef("pk"), evaluator=evaluator)
        runs = runs.exclude(Exists(scored)).exclude(Exists(mine.open()))
    new = list(runs.exclude(Exists(mine)).order_by("id").values_list("pk", "batch"))
    known = Evaluation.objects.filter(evaluator=evaluator, run__in=runs.order_by())
    count, calls = _put_back(known, actor)
    rows = (
        Evaluation(run_id=run, batch_id=batch, evaluator=evaluator, requested_by=actor) for run, batch in new
    )
    Evaluation.objects.bulk_create(rows, ignore_conflicts=True, batch_size=AT_ONCE)
    return count + len(new), calls


def _put_back(known: QuerySet[Evaluation], actor: User | None) -> tuple[int, list[UUID]]:
    """Whatever is in the air for these is dropped when it comes, and is made again."""
    locked = known.order_by("id").select_for_update(of=("self",))
    facts = list(locked.values_list("pk", "state", "call"))
    for begin in range(0, len(facts), AT_ONCE):
        part = [pk for pk, _, _ in facts[begin : begin + AT_ONCE]]
        Evaluation.objects.filter(pk__in=part).update(
            state=STATE.QUEUED,
            requested_by=actor,
            lease_until=None,
            not_before=None,
            retries=0,
            crashes=0,
            asked_again=False,
            reason="",
            finished_at=None,
        )
    return len(facts), [call for _, state, call in facts if state == STATE.RUNNING and call]


def _invite(evaluators: Collection[UUID]) -> None:
    for evaluator in evaluators:
        permits.publish_evaluation(evaluator)
