"""Taking cells off a batch, and giving back those that no call was made for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Min, Q, QuerySet
from django.db.models.functions import Now

from evalsuite.bulk import insert_rows
from evalsuite.clock import in_seconds
from evalsuite.ids import new_id
from evalsuite.orgs.models import Org
from evalsuite.quotas import services as quotas
from evalsuite.quotas.models import UsageRecord
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.services import counting
from llm_routing import resolution
from llm_routing.errors import ModelNotFound
from llm_routing.types import CompletionRequest, Message

STATE = ExperimentRun.State
SUSPICIOUS = 2  # crashes; one may be anybody's
_NEEDED = (
    "id",
    "attempt",
    "crashes",
    "retries",
    "variant_id",
    "model_provider",
    "model_name",
    "messages",
    "parameters",
    "max_tokens",
    "not_before",
    "created_at",
    "cached_from_id",
)


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that one loaded model serves: claimed together, so that a server need not reload."""

    model: UUID
    load_key: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A claimed cell: all that the call and its record need. `attempt` fences the record."""

    run_id: UUID
    attempt: int
    call: quotas.Call  # its `attempt` is the id of the attempt's row
    retries: int
    is_suspect: bool  # workers have died while they worked on it
    variant_id: UUID
    request: CompletionRequest
    snapshot: dict[str, Any]  # empty unless an evaluator asks for it
    queue_ms: int  # until the call began
    claimed_at: float  # by `time.monotonic`
    cached_from: UUID | None = None

    def begun(self) -> Cell:
        """The same cell as its call begins: it has waited in our hands as well."""
        waited = round((time.monotonic() - self.claimed_at) * 1000)
        return replace(self, queue_ms=self.queue_ms + waited)


def claimable(batch_id: UUID) -> QuerySet[ExperimentRun]:
    """Queued cells whose pause, if they have one, is over."""
    ready = Q(not_before=None) | Q(not_before__lte=Now())
    return ExperimentRun.objects.filter(ready, batch=batch_id, state=STATE.QUEUED)


def groups(batch_id: UUID) -> list[Group]:
    """Groups with cells that are ready and need a call, in the batch's order of work."""
    ready = claimable(batch_id).filter(cached_from=None).order_by()
    rows = ready.values("model", "load_key").annotate(first=Min("position")).order_by("first")
    found = [(row["model"], row["load_key"]) for row in rows]
    if any(model is None for model, _ in found):
        fail_without_model(batch_id)
    return [Group(model, load_key) for model, load_key in found if model is not None]


def fail_without_model(batch_id: UUID) -> None:
    """Close the cells whose model was taken out of the registry after they were planned."""
    with transaction.atomic():
        cells = claimable(batch_id).filter(model=None, cached_from=None)
        ids = list(cells.order_by("id").select_for_update().values_list("id", flat=True))
        mine = ExperimentRun.objects.filter(pk__in=ids)
        mine.update(
            state=STATE.FAILED,
            finished_at=Now(),
            error_code=ModelNotFound.code,
            error_message="The model was removed from the registry before this cell was run.",
        )
        rows = list(mine.values_list("experiment__org", "experiment", "variant"))
        counting.closed(rows, STATE.FAILED).save()


def is_running(batch_id: UUID) -> bool:
    """False where nobody may begin a call for the batch any more."""
    return _running(batch_id).exists()


def _running(batch_id: UUID) -> QuerySet[Batch]:
    return Batch.objects.filter(pk=batch_id, state=Batch.State.RUNNING)


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken. `refusal`: a limit of the org, because of which it was not more."""

    cells: list[Cell]
    refusal: quotas.Refusal | None = None


def claim(
    batch: Batch,
    group: Group | None,
    want: int,
    worker: str,
    *,
    limits: quotas.Limits | None = None,
    with_snapshot: bool = True,
    suspect: bool = True,
) -> Claim:
    """Take up to `want` cells: state, lease and attempt rows, and their share of the org's limits.

    A cell during which several workers have died comes last, alone, and only where `suspect` allows it:
    the cells beside it must not die with it.
    None for the group takes the cells that have a cached answer, which use nothing. Takes nothing where
    the batch runs no more: cancelling waits for the rows that are being claimed, so that none slips through.
    """
    if want <= 0:
        return Claim([])
    with transaction.atomic():
        cells = claimable(batch.pk).filter(Exists(_running(batch.pk)))
        if group is None:
            cells = cells.exclude(cached_from=None)
        else:
            cells = cells.filter(model=group.model, load_key=group.load_key, cached_from=None)
        fields = (*_NEEDED, *(["snapshot"] if with_snapshot else []))
        rows = _locked(cells.filter(crashes__lt=SUSPICIOUS), fields, want)
        if suspect and len(rows) < want:
            rows += _locked(cells.filter(crashes__gte=SUSPICIOUS), fields, 1)
        if not rows:
            return Claim([])
        now = rows[0]["db_now"]
        taken = [_cell(batch, row) for row in rows]
        granted = quotas.Granted(len(taken))
        if group is not None:  # a cached answer is no call
            granted = quotas.reserve(batch.experiment.org, [cell.call for cell in taken], limits=limits)
            taken = taken[: granted.count]
            insert_rows(RunAttempt, [_attempt(cell, worker, now) for cell in taken])
        ExperimentRun.objects.filter(pk__in=[cell.run_id for cell in taken]).update(
            attempt=F("attempt") + 1,
            state=STATE.RUNNING,
            lease_until=in_seconds(settings.CELL_LEASE),
            started_at=Now(),
        )
        return Claim(taken, granted.refusal)


def _attempt(cell: Cell, worker: str, now: datetime) -> dict[str, Any]:
    return {
        "id": cell.call.attempt,
        "run": cell.run_id,
        "number": cell.attempt,
        "worker": worker,
        "started_at": now,
    }


def _locked(cells: QuerySet[ExperimentRun], fields: Sequence[str], most: int) -> list[dict[str, Any]]:
    free = cells.order_by("position").select_for_update(skip_locked=True)
    return list(free.annotate(db_now=Now()).values(*fields, "db_now")[:most])


def _cell(batch: Batch, row: dict[str, Any]) -> Cell:
    waited = row["db_now"] - (row["not_before"] or row["created_at"])
    return Cell(
        run_id=row["id"],
        attempt=row["attempt"] + 1,
        call=quotas.Call(
            attempt=new_id(),
            kind=UsageRecord.Kind.EXPERIMENT,
            provider=row["model_provider"],
            model=row["model_name"],
            tokens=quotas.estimated_tokens(
                sum(len(message["content"]) for message in row["messages"]), row["max_tokens"]
            ),
            user_id=batch.author_id,
            experiment_id=batch.experiment_id,
        ),
        retries=row["retries"],
        is_suspect=row["crashes"] >= SUSPICIOUS,
        variant_id=row["variant_id"],
        request=CompletionRequest(
            model=row["model_name"],
            messages=tuple(Message(message["role"], message["content"]) for message in row["messages"]),
            parameters=resolution.parameters_from_json(row["parameters"]),
        ),
        snapshot=row.get("snapshot") or {},
        queue_ms=max(0, round(waited.total_seconds() * 1000)),
        claimed_at=time.monotonic(),
        cached_from=row["cached_from_id"],
    )


def pause_for_quota(batch_id: UUID, refusal: quotas.Refusal) -> None:
    """The batch met a limit of its org: it stands still until there may be room. Calls in the air end."""
    Batch.objects.filter(pk=batch_id, state=Batch.State.RUNNING).update(
        state=Batch.State.PAUSED,
        paused_reason=Batch.PausedReason.QUOTA,
        paused_note=str(refusal),
        resume_at=in_seconds(refusal.retry_after),
    )


@transaction.atomic
def renew(runs: Sequence[UUID], *, attempt: int) -> None:
    """A longer lease for cells that are still ours. Rows that are being recorded need none."""
    mine = ExperimentRun.objects.filter(pk__in=runs, attempt=attempt, state=STATE.RUNNING)
    free = list(mine.order_by("id").select_for_update(skip_locked=True).values_list("id", flat=True))
    ExperimentRun.objects.filter(pk__in=free).update(lease_until=in_seconds(settings.CELL_LEASE))


def hand_back(batch_id: UUID, cells: Sequence[Cell]) -> None:
    """Cells that were claimed and not called: back into the queue, or closed with a cancelled batch.

    Their attempts never were, so they leave no trace.
    """
    if cells:
        _hand_back(batch_id, cells)


@transaction.atomic
def _hand_back(batch_id: UUID, cells: Sequence[Cell]) -> None:
    cancelled = Batch.objects.filter(pk=batch_id, state=Batch.State.CANCELLED).exists()
    changes: dict[str, Any] = (
        {"state": STATE.CANCELLED, "finished_at": Now()} if cancelled else {"state": STATE.QUEUED}
    )
    for number in {cell.attempt for cell in cells}:
        same = [cell for cell in cells if cell.attempt == number]
        mine = ExperimentRun.objects.filter(
            pk__in=[cell.run_id for cell in same], attempt=number, state=STATE.RUNNING
        )
        held = set(mine.order_by("id").select_for_update().values_list("id", flat=True))
        RunAttempt.objects.filter(
            pk__in=[cell.call.attempt for cell in same if cell.run_id in held], outcome=""
        ).delete()
        ExperimentRun.objects.filter(pk__in=held).update(**changes, attempt=number - 1, lease_until=None)
        if cancelled and held:
            counting.count_cancelled(Org.objects.get(experiments__batches=batch_id), len(held))
    quotas.release([cell.call.attempt for cell in cells])
