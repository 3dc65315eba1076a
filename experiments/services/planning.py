"""One press of Run: the whole batch is written down, then workers may look for it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Unpack
from uuid import UUID

from django.db import IntegrityError, transaction

from evalsuite import context
from evalsuite.audit.services import record
from evalsuite.bulk import Alike, insert_alike
from evalsuite.clock import in_seconds
from evalsuite.ids import new_id
from evalsuite.orgs.models import User
from experiments.models import Batch, Experiment, ExperimentRun
from experiments.services import permits
from experiments.services.drafting import Cell, Setup, Wanted, draft
from experiments.services.execution import stopping
from experiments.services.idempotency import Once

DEFAULT_PARALLEL = 16
FIRST_LOOK_S, LONGEST_LOOK_S = 0.005, 0.05
VARYING = (
    "id",
    "input_id",
    "repeat",
    "position",
    "request_hash",
    "cached_from_id",
    "cached_latency_ms",
    "messages",
    "snapshot",
)


def start_batch(
    *, experiment: Experiment, author: User | None, once: Once | None = None, **wanted: Unpack[Wanted]
) -> Batch:
    """Plan one cell for each input, variant and repeat that is wanted, and invite workers.

    With `once`, a request that started a batch before gets that batch, and nothing is started again.
    Raises as `drafting.draft` does, and KeyReused; nothing is written then.
    """
    if once and (before := once.started()):
        return before
    try:
        return _start(experiment, author, once, wanted)
    except IntegrityError:
        if once and (before := once.started()):  # the same request, faster by a moment
            return before
        raise


@transaction.atomic
def _start(experiment: Experiment, author: User | None, once: Once | None, wanted: Wanted) -> Batch:
    batch = Batch(
        experiment=experiment,
        author=author,
        parallel=wanted.get("parallel") or DEFAULT_PARALLEL,
        repeats=wanted.get("repeats", 1),
        at_most_once=wanted.get("at_most_once", False),
        use_cache=wanted.get("use_cache", False),
        token_budget=wanted.get("token_budget"),
        traceparent=context.current.get().traceparent,
        permits_due_at=in_seconds(permits.GRACE_S),
    )
    if once:
        once.claim(batch.pk)
    if wanted.get("fill_gaps"):
        # Two people who fill the same gaps at once fill them once.
        Experiment.objects.select_for_update().get(pk=experiment.pk)
    cells = draft(experiment, **wanted)
    batch.total = len(cells)
    batch.save(force_insert=True)
    _write(batch, cells)
    record(
        "experiment.run.started",
        org=experiment.org,
        actor=author,
        subject=batch,
        after={"cells": batch.total, **_told(wanted, cells)},
    )
    transaction.on_commit(lambda: permits.hand_out(batch.pk, parallel=min(batch.parallel, batch.total)))
    return batch


def _write(batch: Batch, cells: Sequence[Cell]) -> None:
    rows: dict[UUID, list[tuple[object, ...]]] = defaultdict(list)
    for position, cell in enumerate(cells):
        rows[cell.setup.variant.pk].append(
            (
                new_id(),
                cell.input.pk,
                cell.repeat,
                position,
                cell.request_hash,
                cell.cached_from,
                cell.cached_latency_ms,
                cell.messages,
                cell.snapshot,
            )
        )
    setups = {cell.setup.variant.pk: cell.setup for cell in cells}
    groups = [Alike(rows[variant], _shared(batch, setup)) for variant, setup in setups.items()]
    insert_alike(ExperimentRun, VARYING, *groups)


def _shared(batch: Batch, setup: Setup) -> dict[str, object]:
    """What all cells of a variant have in this batch."""
    parameters = setup.settings.parameters
    return {
        "experiment_id": batch.experiment_id,
        "batch_id": batch.pk,
        "variant_id": setup.variant.pk,
        "model_id": setup.model.pk,
        "model_provider": setup.model.provider.slug,
        "model_name": setup.model.name,
        "model_digest": setup.model.digest,
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        "max_tokens": parameters.max_tokens,
        "parameters": setup.parameters,
        "load_key": setup.load_key,
    }


def _told(wanted: Wanted, cells: Sequence[Cell]) -> dict[str, object]:
    """What the audit trail keeps of the wishes beyond the usual."""
    facts: dict[str, object] = {
        "fillGaps": wanted.get("fill_gaps"),
        "atMostOnce": wanted.get("at_most_once"),
        "tokenBudget": wanted.get("token_budget"),
    }
    if wanted.get("use_cache"):
        facts["cachedCells"] = sum(cell.cached_from is not None for cell in cells)
    return {name: value for name, value in facts.items() if value}


def wait_until_finished(batch: Batch, *, timeout_s: float) -> bool:
    """Watch the database until the batch has ended.

    False where it goes on after `timeout_s`, waits for a person, or where this process must end.
    """
    deadline = time.monotonic() + timeout_s
    pause = FIRST_LOOK_S
    while True:
        found = Batch.objects.filter(pk=batch.pk).values_list("state", "paused_reason", "finished_at").first()
        if found is None:
            return False  # deleted in the meantime
        batch.state, batch.paused_reason, batch.finished_at = found
        if batch.finished_at is not None:
            return True
        if batch.waits_for_a_person or time.monotonic() >= deadline or stopping.event.wait(pause):
            return False
        pause = min(pause * 1.5, LONGEST_LOOK_S)
