"""Permits: messages that invite a worker to look for cells of a batch.

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
GRACE_S = 5.0  # a batch that no worker has looked at for so long gets new permits


def hand_out(batch_id: UUID, *, parallel: int) -> None:
    """As many permits as it takes to keep `parallel` calls in the air. Never raises."""
    for _ in range(math.ceil(parallel / settings.WORK_CALLS)):
        if not publish(batch_id):
            return


def publish(batch_id: UUID) -> bool:
    """One permit. False where the broker does not take it: the sweeper will try again."""
    try:
        current_app.send_task(TASK, args=[str(batch_id)])
    except (OperationalError, OSError) as error:
        log.warning("the broker takes no permit for batch %s: %s", batch_id, error)
        return False
    return True
