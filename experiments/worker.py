"""What runs beside the tasks in a worker: the sweeper, and a clean end. Also the worker that
lives inside the serve process when the broker is in memory."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import current_app, signals
from celery.worker import WorkController
from django.conf import settings
from django.db import DatabaseError, connections

from evalsuite import memory, queue_in_memory, tracing
from experiments.services import sweeping
from experiments.services.execution import stopping

log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps every few seconds, in a thread of its own; the database sees to it that one sweeps."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while True:
            try:
                sweeping.sweep_in_turn()
            except DatabaseError:
                log.warning("the database does not answer, the sweeper tries again", exc_info=True)
            except Exception:
                # The sweeper is the only repair there is: it must outlive a bug in one round.
                log.exception("a round of the sweeper broke")
            finally:
                connections.close_all()
            if self._ended.wait(settings.SWEEP_EVERY):
                return


@signals.worker_ready.connect
def _start_sweeper(sender: Any, **_: object) -> None:
    sender.sweeper = Sweeper()
    sender.sweeper.start()


@signals.worker_ready.connect
@signals.worker_process_init.connect
def _settle_memory(**_: object) -> None:
    memory.settle()


@signals.worker_process_shutdown.connect
def _send_traces(**_: object) -> None:
    tracing.end()  # a process of a pool ends without its exit handlers


@signals.worker_shutting_down.connect
def _stop_claiming(**_: object) -> None:
    # A little less than the soft shut-down, so that given-up cells are still written back.
    stopping.begin(grace_s=max(0.0, settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT - 5))


class EmbeddedWorker:
    """A Celery worker with a pool of threads inside this process, for the in-memory broker."""

    def __init__(self, *, threads: int = 8) -> None:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        app.loader.import_default_modules()
        self._controller = WorkController(
            app=app,
            pool_cls="threads",
            concurrency=threads,
            hostname="embedded",
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        self._thread = threading.Thread(target=self._controller.start, name="worker", daemon=True)
        self._sweeper = Sweeper()

    def start(self) -> None:
        stopping.clear()
        self._thread.start()
        self._sweeper.start()

    def stop(self, *, grace_s: float = 1.5) -> None:
        """Claim no more, give calls in the air back to the queue after `grace_s`, and end."""
        stopping.begin(grace_s=grace_s)
        self._sweeper.stop()
        queue_in_memory.leaving.set()
        self._controller.stop()
        self._thread.join(timeout=grace_s + 2)
        queue_in_memory.leaving.clear()

    def __enter__(self) -> EmbeddedWorker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
