"""Whether the cells that could be worked on are worked on, read from the rows alone."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from evalsuite.audit.models import AuditEvent
from evalsuite.clock import in_seconds
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.models.runs import SweepTurn
from llm_routing.models import Endpoint

STATE = ExperimentRun.State


def patience_s() -> float:
    """How long cells may wait without a claim: what it takes to notice a dead worker, and to repair."""
    return float(settings.CELL_LEASE + 5 * settings.SWEEP_EVERY)


def standstill() -> str:
    """Why nobody claims the cells that wait; empty where somebody does, or where none waits.

    While a cell is in the air under a live lease somebody is at work, and the rest waits its turn:
    that is one look into a small index. Only what looks wrong costs more.
    """
    if ExperimentRun.objects.filter(state=STATE.RUNNING, lease_until__gt=Now()).exists():
        return ""
    since = in_seconds(-patience_s())
    swept = SweepTurn.objects.filter(due_at__gte=since).exists()
    waiting = list(_waiting(since, swept=swept).values_list("pk", flat=True))
    if not waiting or _claimed(since) or _steered(waiting, since):
        return ""
    reason = "a worker sweeps, but claims nothing" if swept else "no worker is there"
    return f"cells wait, and none was claimed for {patience_s():g} s: {reason}"


def _waiting(since: Combinable, *, swept: bool) -> QuerySet[Batch]:
    """Running batches with cells that could have been called all the time since then.

    What waits for a server of an org's own tells of no trouble here, as long as workers are there:
    nobody shall make the whole installation look broken by switching theirs off.
    """
    somewhere = Exists(Endpoint.objects.filter(provider=OuterRef("model__provider"), enabled=True))
    callable_ = Q(model=None) | (Q(model__provider__enabled=True) & Q(somewhere))
    if swept:
        callable_ &= Q(model=None) | Q(model__provider__org=None)
    cells = ExperimentRun.objects.filter(
        Q(not_before=None) | Q(not_before__lte=since),
        callable_,
        batch=OuterRef("pk"),
        state=STATE.QUEUED,
        created_at__lte=since,
    )
    return Batch.objects.filter(Exists(cells), state=Batch.State.RUNNING, finished_at=None)


def _claimed(since: Combinable) -> bool:
    """Some attempt began since then, in any batch, or ended or was taken back."""
    lately = Batch.objects.filter(Q(finished_at=None) | Q(finished_at__gte=since))
    attempts = RunAttempt.objects.filter(run__batch__in=lately)
    return attempts.filter(Q(started_at__gte=since) | Q(ended_at__gte=since)).exists()


def _steered(batches: list[UUID], since: Combinable) -> bool:
    """Each of these was resumed or retried since then: its cells are older than their wait."""
    events = AuditEvent.objects.filter(object_id__in=[str(pk) for pk in batches], created_at__gte=since)
    return events.values("object_id").distinct().count() == len(batches)
