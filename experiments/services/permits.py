"""Permits: messages that invite a worker to look for cells of a batch, or for an evaluator's work.

They carry no truth. A lost one costs seconds, until the sweeper hands out another; a surplus
one finds nothing to do.
"""

from __future__ import annotations

import logging
import math
from uuid import UUID

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

TASK = "experiments.tasks.work"
EVALUATION_TASK = "experiments.tasks.evaluate"
GRACE_S = 5.0  # a batch that no worker has looked at for so long gets new permits


def hand_out(batch_id: UUID, *, parallel: int) -> None:
    """As many permits as it takes to keep `parallel` calls in the air. Never raises."""
    for _ in range(math.ceil(parallel / settings.WORK_CALLS)):
        if not publish(batch_id):
            return


def publish(batch_id: UUID) -> bool:
    """One permit. False where the broker does not take it: the sweeper will try again."""
    return _send(TASK, batch_id)


def publish_evaluation(evaluator_id: UUID) -> bool:
    """One permit for an evaluator's queue. False as with `publish`."""
    return _send(EVALUATION_TASK, evaluator_id)


def _send(task: str, about: UUID) -> bool:
    try:
        current_app.send_task(task, args=[str(about)])
    except (OperationalError, OSError) as error:
        log.warning("the broker takes no permit for %s: %s", about, error)
        return False
    return True
