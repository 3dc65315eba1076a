"""The workers' door."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from experiments.services import execution, judging, sweeping


@shared_task(ignore_result=True)
def work(batch_id: str, **_future: object) -> None:
    """A permit: work on this batch until nothing is claimable or the time slice is over."""
    if execution.drain(UUID(batch_id)) is execution.Drain.NOTHING_TO_CLAIM:
        sweeping.sweep_in_turn()  # an idle worker has the time


@shared_task(ignore_result=True)
def evaluate(evaluator_id: str, **_future: object) -> None:
    """A permit: work on this evaluator's queue until nothing is claimable or the time slice is over."""
    judging.drain(UUID(evaluator_id))
