"""Writing down how calls ended: cell, attempt, scores, ledger and audit event in one transaction."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from evalsuite import metrics
from evalsuite.audit.services import Event, record_many
from evalsuite.clock import in_seconds
from evalsuite.errors import EvalsuiteError
from evalsuite.quotas.models import UsageRecord
from experiments.models import Batch, EvalScore, ExperimentRun, RunAttempt
from experiments.services.evaluation import Panel
from llm_routing import routing
from llm_routing.errors import Cancelled, ProviderError
from llm_routing.types import Completion, CompletionRequest

log = logging.getLogger(__name__)

BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A claimed cell: all that the call and its record need. `attempt_id` fences the record."""

    run_id: UUID
    attempt: int
    attempt_id: UUID
    retries: int
    variant_id: UUID
    provider: str
    request: CompletionRequest
    snapshot: dict[str, Any]
    queue_ms: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered."""

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
    with transaction.atomic():
        answered = [o for o in outcomes if isinstance(o, Answered) and _write_answer(o)]
        failed = [o for o in outcomes if isinstance(o, Failed) and _write_failure(o.cell, o.error)]
        _write_scores(panel, answered)
        _end_attempts(answered)
        _account(batch, answered)
        _audit(batch, [*answered, *failed])
    _count(batch, [*answered, *failed])


def _current(cell: Cell) -> Any:
    """The cell's row, as long as nobody else has taken it over."""
    return ExperimentRun.objects.filter(
        pk=cell.run_id, attempt=cell.attempt, state=ExperimentRun.State.RUNNING
    )


def _write_answer(outcome: Answered) -> bool:
    completion = outcome.completion
    timings = completion.timings
    changed = _current(outcome.cell).update(
        state=ExperimentRun.State.SUCCEEDED,
        lease_until=None,
        finished_at=Now(),
        output=completion.content,
        thinking=completion.thinking,
        tool_calls=[dict(call) for call in completion.tool_calls],
        stop_reason=completion.stop_reason or "",
        error_code="",
        error_message="",
        latency_ms=round(timings.total_ms),
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        queue_ms=outcome.cell.queue_ms,
        first_token_ms=timings.first_token_ms,
        provider_wait_ms=timings.provider_wait_ms,
        load_ms=timings.load_ms,
        prompt_ms=timings.prompt_ms,
        decode_ms=timings.decode_ms,
        tokens_per_second=timings.tokens_per_second(completion.output_tokens),
        cold_start=completion.cold_start,
        may_be_cut=completion.may_be_cut,
    )
    return bool(changed)


def _write_scores(panel: Panel, outcomes: Sequence[Answered]) -> None:
    scores: list[EvalScore] = []
    for outcome in outcomes:
        given, missing = panel.judge(outcome.cell.run_id, outcome.completion.content, outcome.cell.snapshot)
        scores.extend(given)
        if missing:
            ExperimentRun.objects.filter(pk=outcome.cell.run_id).update(evaluation_notes=missing)
    EvalScore.objects.bulk_create(scores)


def _write_failure(cell: Cell, error: EvalsuiteError) -> bool:
    """True where the cell is closed now; False where it waits for another attempt, or is not ours."""
    if isinstance(error, Cancelled):
        pause, retries = 0.0, cell.retries
    elif _worth_a_retry(error) and cell.retries + 1 < settings.CELL_ATTEMPTS:
        ceiling = min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** (cell.retries + 1))
        retries = cell.retries + 1
        pause = max(random.uniform(0, ceiling), error.retry_after or 0)  # noqa: S311 - jitter
    else:
        changed = _current(cell).update(
            state=ExperimentRun.State.FAILED,
            lease_until=None,
            finished_at=Now(),
            queue_ms=cell.queue_ms,
            error_code=error.code,
            error_message=error.message,
        )
        if changed:
            _end_attempt(cell, RunAttempt.Outcome.FAILED, error)
        return bool(changed)
    requeued = _current(cell).update(
        state=ExperimentRun.State.QUEUED,
        lease_until=None,
        not_before=in_seconds(pause),
        retries=retries,
        error_code=error.code,
        error_message=error.message,
    )
    if requeued:
        _end_attempt(cell, RunAttempt.Outcome.RETRY, error)
    return False


def _worth_a_retry(error: EvalsuiteError) -> bool:
    return isinstance(error, ProviderError) and not error.permanent


def _end_attempt(cell: Cell, outcome: RunAttempt.Outcome, error: EvalsuiteError) -> None:
    RunAttempt.objects.filter(pk=cell.attempt_id, outcome="").update(
        outcome=outcome, ended_at=Now(), error_code=error.code, error_message=error.message
    )


def _end_attempts(outcomes: Sequence[Answered]) -> None:
    ids = [outcome.cell.attempt_id for outcome in outcomes]
    if ids:
        RunAttempt.objects.filter(pk__in=ids).update(outcome=RunAttempt.Outcome.SUCCEEDED, ended_at=Now())


def _account(batch: Batch, outcomes: Sequence[Answered]) -> None:
    usages = [
        routing.Usage(
            attempt=outcome.cell.attempt_id,
            kind=UsageRecord.Kind.EXPERIMENT,
            provider=outcome.cell.provider,
            model=outcome.cell.request.model,
            input_tokens=outcome.completion.input_tokens,
            output_tokens=outcome.completion.output_tokens,
        )
        for outcome in outcomes
    ]
    if usages:
        routing.account(batch.experiment.org, usages)


def _audit(batch: Batch, closed: Sequence[Outcome]) -> None:
    record_many(
        Event(
            "experiment.run.completed",
            org=batch.experiment.org,
            actor=batch.author,
            subject=ExperimentRun(pk=outcome.cell.run_id),
            after={
                "batchId": str(batch.pk),
                "state": "succeeded" if isinstance(outcome, Answered) else "failed",
                "error": outcome.error.code if isinstance(outcome, Failed) else None,
                "attempt": outcome.cell.attempt,
            },
        )
        for outcome in closed
    )


def _count(batch: Batch, closed: Sequence[Outcome]) -> None:
    experiment = batch.experiment
    for outcome in closed:
        labels = (str(experiment.org_id), str(experiment.pk), str(outcome.cell.variant_id))
        metrics.EXPERIMENT_RUNS.labels(*labels).inc()
        if isinstance(outcome, Answered):
            metrics.EXPERIMENT_LATENCY.labels(*labels).observe(outcome.completion.timings.total_ms)
