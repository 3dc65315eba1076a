"""The queue of evaluations: putting work in, taking it out, and what is left when a worker dies.

The same rules as for cells: a claim writes attempt and lease before anything is called, a result counts
only while its attempt is the current one, and the sweeper repairs the rest from the rows alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from evalsuite.bulk import update_rows
from evalsuite.clock import in_seconds
from evalsuite.ids import new_id
from evalsuite.metrics.changes import Changes
from evalsuite.metrics.families import ATTEMPTS_LOST
from evalsuite.orgs.models import Org
from evalsuite.quotas import services as quotas
from evalsuite.quotas.models import UsageRecord
from experiments.evaluators.base import Evaluator as EvaluatorCode
from experiments.evaluators.base import Sample
from experiments.evaluators.calling import CallingEvaluator, Question
from experiments.models import Batch, Evaluation, Evaluator, ExperimentRun
from experiments.services import permits
from experiments.services.evaluation import sample_of_run
from llm_routing.resolution import Settings

log = logging.getLogger(__name__)

STATE = Evaluation.State
DUE = Q(permits_due_at=None) | Q(permits_due_at__lte=Now())
CRASHES_TO_GIVE_UP = 3
AT_ONCE = 1_000
SWITCHED_OFF = "The evaluator was switched off before it came to this answer. Evaluate again."
RUN_FIELDS = (
    "id",
    "output",
    "snapshot",
    "messages",
    "latency_ms",
    "first_token_ms",
    "input_tokens",
    "output_tokens",
    "stop_reason",
    "cold_start",
    "cached_from",
    "cached_latency_ms",
)


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed evaluation. `attempt` fences its record; `call` and `question` are None without a call."""

    evaluation_id: UUID
    run_id: UUID
    attempt: int
    retries: int
    asked_again: bool
    requested_by: UUID | None
    sample: Sample
    call: quotas.Call | None = None
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken. `refusal`: a limit of the org, because of which it was not more.

    `changed`: the evaluator is not any more what the caller knows, so nothing was taken.
    """

    tasks: list[Task]
    refusal: quotas.Refusal | None = None
    changed: bool = False


# Putting in


def enqueue(batch: Batch, evaluators: Collection[UUID], runs: Sequence[UUID]) -> None:
    """In the transaction that records these answers: evaluators that call a model look at them later."""
    if not evaluators or not runs:
        return
    Evaluation.objects.bulk_create(
        [
            Evaluation(run_id=run, evaluator_id=evaluator, batch_id=batch.pk, requested_by_id=batch.author_id)
            for evaluator in evaluators
            for run in runs
        ],
        ignore_conflicts=True,
        batch_size=AT_ONCE,
    )
    transaction.on_commit(lambda: offer(evaluators))


def offer(evaluators: Collection[UUID]) -> None:
    """Hand out a permit for each of these that nobody has looked at for a while."""
    for evaluator in evaluators:
        # Whoever moves the time on hands the permit out; all others find it moved.
        if Evaluator.objects.filter(DUE, pk=evaluator).update(permits_due_at=in_seconds(permits.GRACE_S)):
            permits.publish_evaluation(evaluator)


def looked_after(evaluator_id: UUID, *, again_in: float = permits.GRACE_S, waits_for: str = "") -> None:
    """Somebody works on this queue, or knows when it can go on: the sweeper need not ask before then."""
    Evaluator.objects.filter(pk=evaluator_id).update(permits_due_at=in_seconds(again_in), waits_for=waits_for)


def try_again(org: Org) -> None:
    """The org's limits have changed: let the sweeper see at its next turn whether there is room now."""
    Evaluator.objects.for_org(org).exclude(waits_for="").update(permits_due_at=Now())


# Taking out


def claimable(evaluator_id: UUID | OuterRef) -> QuerySet[Evaluation]:
    ready = Q(not_before=None) | Q(not_before__lte=Now())
    return Evaluation.objects.filter(ready, evaluator=evaluator_id, state=STATE.QUEUED)


def close_switched_off(evaluator_id: UUID) -> None:
    """What waits for an evaluator that was switched off ends without a score."""
    Evaluation.objects.filter(evaluator=evaluator_id, state=STATE.QUEUED).update(
        state=STATE.MISSING, reason=SWITCHED_OFF, finished_at=Now()
    )


def claim(
    evaluator: Evaluator,
    code: EvaluatorCode,
    want: int,
    *,
    chosen: Settings | None = None,
    limits: quotas.Limits | None = None,
) -> Claim:
    """Take up to `want` evaluations: state, attempt and lease, and their share of the org's limits.

    `chosen` says how the model is called; None: nothing is called, and nothing reserved. What workers have
    died over is taken last, and alone.
    """
    if want <= 0:
        return Claim([])
    with transaction.atomic():
        ready = claimable(evaluator.pk)
        rows = _locked(ready.filter(crashes=0), want) or _locked(ready.filter(crashes__gt=0), 1)
        if rows and _has_changed(evaluator):
            return Claim([], changed=True)
        runs = ExperimentRun.objects.only(*RUN_FIELDS).in_bulk([row.run_id for row in rows])
        tasks = []
        for row in rows:
            try:
                if row.run_id in runs:
                    tasks.append(_task(evaluator, code, row, runs[row.run_id], chosen))
            except Exception as error:
                # Whoever wrote the evaluator could not ask about this answer: the others still can be.
                log.exception("the evaluator %s failed", code.kind)
                _close(row, f"The evaluator failed: {type(error).__name__}.")
        granted = quotas.Granted(len(tasks))
        calls = [task.call for task in tasks if task.call]
        if calls:
            granted = quotas.reserve(evaluator.experiment.org, calls, limits=limits)
            tasks = tasks[: granted.count]
        Evaluation.objects.filter(pk__in=[task.evaluation_id for task in tasks]).update(
            state=STATE.RUNNING, attempt=F("attempt") + 1, lease_until=in_seconds(settings.CELL_LEASE)
        )
        update_rows(
            Evaluation, [(task.evaluation_id, {"call": task.call and task.call.attempt}) for task in tasks]
        )
    return Claim(tasks, granted.refusal)


def _close(row: Evaluation, reason: str) -> None:
    Evaluation.objects.filter(pk=row.pk).update(state=STATE.MISSING, reason=reason, finished_at=Now())


def _locked(rows: QuerySet[Evaluation], most: int) -> list[Evaluation]:
    return list(rows.order_by("id").select_for_update(skip_locked=True)[:most])


def _has_changed(known: Evaluator) -> bool:
    """Asked with the rows locked: whoever changed it and then asked to evaluate again is seen here."""
    facts = ("config", "metric_id", "enabled")
    current = Evaluator.objects.filter(pk=known.pk).values(*facts).first()
    return bool(current != {name: getattr(known, name) for name in facts})


def _task(
    evaluator: Evaluator, code: EvaluatorCode, row: Evaluation, run: ExperimentRun, chosen: Settings | None
) -> Task:
    sample = sample_of_run(run)
    question, call = None, None
    if chosen is not None and isinstance(code, CallingEvaluator):
        question = code.question(sample)
        characters = sum(len(message.content) for message in question.messages)
        call = quotas.Call(
            attempt=new_id(),
            kind=UsageRecord.Kind.JUDGE,
            provider=chosen.model.provider.slug,
            model=chosen.model.name,
            tokens=quotas.estimated_tokens(characters, chosen.parameters.max_tokens),
            user_id=row.requested_by_id,
            experiment_id=evaluator.experiment_id,
        )
    return Task(
        evaluation_id=row.pk,
        run_id=row.run_id,
        attempt=row.attempt + 1,
        retries=row.retries,
        asked_again=row.asked_again,
        requested_by=row.requested_by_id,
        sample=sample,
        call=call,
        question=question,
    )


@transaction.atomic
def renew(tasks: Sequence[Task]) -> None:
    """A longer lease for what is still ours. Rows that are being recorded need none."""
    current = Q()
    for task in tasks:
        current |= Q(pk=task.evaluation_id, attempt=task.attempt)
    if not current:
        return
    mine = Evaluation.objects.filter(current, state=STATE.RUNNING).order_by("id")
    free = [row.pk for row in mine.only("id").select_for_update(skip_locked=True)]
    Evaluation.objects.filter(pk__in=free).update(lease_until=in_seconds(settings.CELL_LEASE))


# Repair


def sweep() -> None:
    """Take back expired leases, and hand out permits for queues that nobody works on."""
    take_back_expired()
    waiting = claimable(OuterRef("pk"))
    offer(list(Evaluator.objects.filter(DUE, Exists(waiting)).values_list("pk", flat=True)))


def take_back_expired() -> None:
    """What a worker left goes back into the queue, or ends without a score at the third time."""
    expired = Evaluation.objects.filter(state=STATE.RUNNING, lease_until__lt=Now())
    with transaction.atomic():
        rows = list(expired.order_by("lease_until").select_for_update(skip_locked=True)[:AT_ONCE])
        if not rows:
            return
        log.warning("%d evaluations were left by their worker", len(rows))
        mine = Evaluation.objects.filter(pk__in=[row.pk for row in rows])
        mine.filter(crashes__gte=CRASHES_TO_GIVE_UP - 1).update(
            state=STATE.MISSING,
            lease_until=None,
            crashes=F("crashes") + 1,
            reason=f"{CRASHES_TO_GIVE_UP} workers ended while they worked on this.",
            finished_at=Now(),
        )
        mine.filter(state=STATE.RUNNING).update(
            state=STATE.QUEUED, lease_until=None, not_before=None, crashes=F("crashes") + 1
        )
        Evaluator.objects.filter(pk__in={row.evaluator_id for row in rows}, waits_for="").update(
            permits_due_at=Now()
        )
        _count_lost([row.evaluator_id for row in rows if row.call])
        quotas.release([row.call for row in rows if row.call])  # last: others wait for the counters


def _count_lost(evaluators: Sequence[UUID]) -> None:
    known = Evaluator.objects.select_related("experiment").in_bulk(set(evaluators))
    changes = Changes()
    for pk in evaluators:
        changes.count(ATTEMPTS_LOST, known[pk].experiment.org_id)
    changes.save()
