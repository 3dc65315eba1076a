"""Writing down how calls ended: cell, attempt, scores, ledger and event in one transaction. And the end."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from evalsuite.audit.services import Event, Subject, record_many
from evalsuite.bulk import update_rows
from evalsuite.errors import EvalsuiteError
from evalsuite.metrics.changes import Changes
from evalsuite.metrics.families import EXPERIMENT_LATENCY
from evalsuite.quotas import services as quotas
from experiments.models import Batch, EvalScore, ExperimentRun, RunAttempt
from experiments.services import evaluation_queue
from experiments.services.claiming import Cell
from experiments.services.counting import count_closed, scores_of
from experiments.services.evaluation import Judgement, Panel, sample_of_answer
from llm_routing import counting
from llm_routing.errors import Cancelled, InvalidAnswer, ProviderError
from llm_routing.types import Completion

log = logging.getLogger(__name__)

AGAIN_S = 0.5  # between two tries of a database that does not answer
BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0
STATE = ExperimentRun.State


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered, or had answered the same request before."""

    cell: Cell
    completion: Completion


@dataclass(frozen=True, slots=True)
class Failed:
    """The call ended without an answer that we can use."""

    cell: Cell
    error: EvalsuiteError


Outcome = Answered | Failed


def record(batch: Batch, panel: Panel, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes whose attempt is still the current one; the others are dropped.

    A transient error puts its cell back into the queue, with a pause, while attempts are left.
    """
    verdicts = {o.cell.run_id: _judged(panel, o) for o in outcomes if isinstance(o, Answered)}
    with transaction.atomic():
        ours, now = _still_ours(outcomes)
        answered = [o for o in ours if isinstance(o, Answered)]
        failed = [o for o in ours if isinstance(o, Failed)]
        again = [o for o in failed if _goes_on(batch, o)]
        closed = [o for o in failed if o not in again]
        scores = [verdicts[o.cell.run_id] for o in answered]
        update_rows(
            ExperimentRun,
            [(o.cell.run_id, _answer(o, now, v.missing)) for o, v in zip(answered, scores, strict=True)],
        )
        update_rows(ExperimentRun, [(o.cell.run_id, _failure(o, now)) for o in closed])
        update_rows(ExperimentRun, [(o.cell.run_id, _retry(o, now)) for o in again])
        EvalScore.objects.bulk_create([score for verdict in scores for score in verdict.given])
        _end_attempts(answered, closed, again, now)
        evaluation_queue.enqueue(batch, panel.callers, [o.cell.run_id for o in answered])
        _audit(batch, [*answered, *closed])
        _count(batch, ours, answered, closed, has_scores=any(verdict.given for verdict in scores))
        _account(batch, ours)  # last: others wait for these rows


def record_for_certain(batch: Batch, panel: Panel, outcomes: Sequence[Outcome]) -> None:
    """Record, whatever it takes: what a model has said is paid for.

    While the database does not answer it is tried again, until the leases have run out: then others have
    the cells. What the database refuses costs its own cell alone.
    """
    deadline = time.monotonic() + settings.CELL_LEASE
    while True:
        try:
            record(batch, panel, outcomes)
        except (OperationalError, InterfaceError):
            if time.monotonic() >= deadline:
                raise
            log.warning("the database does not take %d results, trying again", len(outcomes))
            connections.close_all()
            time.sleep(AGAIN_S)
        except DatabaseError:
            _record_one_by_one(batch, panel, outcomes)
            return
        else:
            return


def _record_one_by_one(batch: Batch, panel: Panel, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        try:
            record(batch, panel, [outcome])
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError:
            log.exception("the result of run %s cannot be stored", outcome.cell.run_id)
            record(batch, panel, [Failed(outcome.cell, EvalsuiteError("The answer could not be stored."))])


def _still_ours(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], datetime]:
    """Lock the cells, and drop the outcomes of those that somebody else has by now. Also the time."""
    cells = ExperimentRun.objects.filter(pk__in=[o.cell.run_id for o in outcomes], state=STATE.RUNNING)
    rows = cells.order_by("id").select_for_update().values_list("id", "attempt", Now())
    current: dict[UUID, int] = {}
    now = timezone.now()
    for pk, attempt, now in rows:  # noqa: B007 - the database's clock is the same in all rows
        current[pk] = attempt
    ours = [o for o in outcomes if current.pop(o.cell.run_id, None) == o.cell.attempt]
    return ours, now


def _judged(panel: Panel, outcome: Answered) -> Judgement:
    if not panel:
        return Judgement([], {})
    return panel.judge(outcome.cell.run_id, sample_of_answer(outcome.cell, outcome.completion))


def _answer(outcome: Answered, now: datetime, missing: dict[str, str]) -> dict[str, Any]:
    completion = outcome.completion
    timings = completion.timings
    cached = outcome.cell.cached_from is not None
    return {
        "state": STATE.SUCCEEDED,
        "lease_until": None,
        "finished_at": now,
        "output": completion.content,
        "thinking": completion.thinking,
        "tool_calls": [dict(call) for call in completion.tool_calls],
        "stop_reason": completion.stop_reason or "",
        "error_code": "",
        "error_message": "",
        "latency_ms": None if cached else round(timings.total_ms),
        "input_tokens": completion.input_tokens,
        "output_tokens": completion.output_tokens,
        "queue_ms": outcome.cell.queue_ms,
        "first_token_ms": timings.first_token_ms,
        "provider_wait_ms": timings.provider_wait_ms,
        "load_ms": timings.load_ms,
        "prompt_ms": timings.prompt_ms,
        "decode_ms": timings.decode_ms,
        "tokens_per_second": timings.tokens_per_second(completion.output_tokens),
        "cold_start": completion.cold_start,
        "may_be_cut": completion.may_be_cut,
        "evaluation_notes": missing,
    }


def _failure(outcome: Failed, now: datetime) -> dict[str, Any]:
    return {
        "state": STATE.FAILED,
        "lease_until": None,
        "finished_at": now,
        "queue_ms": outcome.cell.queue_ms,
        "error_code": outcome.error.code,
        "error_message": outcome.error.message,
    }


def pause_s(error: EvalsuiteError, retries: int) -> float:
    """Seconds until the next try after so many failures, the one at hand included.

    Full jitter, but never before the server said; a call that we ended ourselves goes on at once.
    """
    if isinstance(error, Cancelled):
        return 0.0
    ceiling = min(LONGEST_BACKOFF_S, BACKOFF_S * 2**retries)
    return max(random.uniform(0, ceiling), error.retry_after or 0)  # noqa: S311 - jitter


def _retry(outcome: Failed, now: datetime) -> dict[str, Any]:
    cell, error = outcome.cell, outcome.error
    own = isinstance(error, Cancelled)
    retries = cell.retries if own else cell.retries + 1
    return {
        "state": STATE.QUEUED,
        "lease_until": None,
        "not_before": now + timedelta(seconds=pause_s(error, retries)),
        "retries": retries,
        "error_code": error.code,
        "error_message": error.message,
    }


def _goes_on(batch: Batch, outcome: Failed) -> bool:
    """True where the cell is queued again, False where it is closed."""
    error = outcome.error
    if batch.at_most_once and not (isinstance(error, ProviderError) and error.not_sent):
        return False
    if isinstance(error, Cancelled):
        return True
    return worth_a_retry(error) and outcome.cell.retries + 1 < settings.CELL_ATTEMPTS


def worth_a_retry(error: EvalsuiteError) -> bool:
    """Trouble in transport passes; everything else would come again."""
    return isinstance(error, ProviderError) and not error.permanent


def _end_attempts(
    answered: Sequence[Answered], closed: Sequence[Failed], again: Sequence[Failed], now: datetime
) -> None:
    if answered:
        RunAttempt.objects.filter(pk__in=[o.cell.call.attempt for o in answered]).update(
            outcome=RunAttempt.Outcome.SUCCEEDED, ended_at=now
        )
    for outcomes, outcome in ((closed, RunAttempt.Outcome.FAILED), (again, RunAttempt.Outcome.RETRY)):
        update_rows(
            RunAttempt,
            [
                (
                    o.cell.call.attempt,
                    {
                        "outcome": outcome,
                        "ended_at": now,
                        "error_code": o.error.code,
                        "error_message": o.error.message,
                    },
                )
                for o in outcomes
            ],
        )


def _account(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    """Settle what was used, and give back what was reserved for calls that came to nothing."""
    used, unused = [], []
    for outcome in outcomes:
        completion = _paid(outcome)
        if completion is not None:
            used.append(quotas.Used(outcome.cell.call, completion.input_tokens, completion.output_tokens))
        elif isinstance(outcome, Failed):
            unused.append(outcome.cell.call.attempt)
    tokens = sum((one.input_tokens or 0) + (one.output_tokens or 0) for one in used)
    if tokens:
        mine = Batch.objects.filter(pk=batch.pk)
        mine.update(tokens=F("tokens") + tokens)
        if batch.token_budget is not None:
            _keep_budget(mine, batch.token_budget)
    quotas.settle(batch.experiment.org, used, released=unused)


def _keep_budget(batch: QuerySet[Batch], budget: int) -> None:
    batch.filter(tokens__gte=budget, state=Batch.State.RUNNING).update(
        state=Batch.State.PAUSED,
        paused_reason=Batch.PausedReason.BUDGET,
        paused_note=f"The batch has used its budget of {budget:,} tokens.",
    )


def _paid(outcome: Outcome) -> Completion | None:
    """The completion whose tokens were used for this outcome, if there was one."""
    if isinstance(outcome, Answered):
        return None if outcome.cell.cached_from else outcome.completion
    return outcome.error.completion if isinstance(outcome.error, InvalidAnswer) else None


def _audit(batch: Batch, closed: Sequence[Outcome]) -> None:
    label = ExperimentRun._meta.label_lower
    record_many(
        Event(
            "experiment.run.completed",
            org=batch.experiment.org,
            actor=batch.author,
            subject=Subject(label, outcome.cell.run_id),
            after={
                "batchId": str(batch.pk),
                "state": "succeeded" if isinstance(outcome, Answered) else "failed",
                "error": outcome.error.code if isinstance(outcome, Failed) else None,
                "attempt": outcome.cell.attempt,
                **({"cachedFrom": str(outcome.cell.cached_from)} if outcome.cell.cached_from else {}),
            },
        )
        for outcome in closed
    )


def _count(
    batch: Batch,
    ours: Sequence[Outcome],
    answered: Sequence[Answered],
    closed: Sequence[Failed],
    *,
    has_scores: bool,
) -> None:
    experiment = batch.experiment
    changes = Changes()
    for outcome in ours:
        if outcome.cell.cached_from:  # no call was made
            continue
        call, error = outcome.cell.call, outcome.error if isinstance(outcome, Failed) else None
        counting.count_call(
            changes,
            experiment.org_id,
            call.provider,
            call.model,
            call.kind,
            outcome=counting.outcome_of(error),
            completion=_paid(outcome),
        )
        if isinstance(outcome, Answered):
            labels = (experiment.org_id, experiment.pk, outcome.cell.variant_id)
            changes.observe(EXPERIMENT_LATENCY, outcome.completion.timings.total_ms, *labels)
    for state, outcomes in ((STATE.SUCCEEDED, answered), (STATE.FAILED, closed)):
        cells = [(experiment.pk, one.cell.variant_id) for one in outcomes]
        count_closed(changes, experiment.org_id, cells, state)
    if has_scores:
        changes.touch([scores_of(experiment.pk)])
    changes.save()


def finish_if_done(batch_id: UUID) -> bool:
    """End a batch all of whose cells are closed. Looks after its own commit: the last to look sees all."""
    open_cells = ExperimentRun.objects.filter(batch=batch_id, state__in=[STATE.QUEUED, STATE.RUNNING])
    if open_cells.exists():
        return False
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id, finished_at=None).first()
        # Whoever runs failed cells again holds this lock as well, and may have done so since we looked.
        if batch is None or open_cells.exists():
            return False
        if batch.state != Batch.State.CANCELLED:
            batch.state = Batch.State.FINISHED
        Batch.objects.filter(pk=batch_id).update(
            state=batch.state, finished_at=Now(), paused_reason="", paused_note="", resume_at=None
        )
    return True
