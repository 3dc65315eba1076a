"""The Celery application."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import celeryd_init, setup_logging, task_postrun, task_prerun
from kombu import Connection

from evalsuite.databases import let_go

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")

LOOK_AGAIN_S = 2


class SteadyConnection(Connection):
    """Looks for a broker that is away every two seconds, for as long as it takes.

    A worker of Celery's own waits up to 30 s between two looks, longer after each.
    """

    def _ensure_connection(self, *args: Any, **given: Any) -> Any:
        return super()._ensure_connection(*args, **{"interval_max": LOOK_AGAIN_S, **given})


class SteadyAMQP(AMQP):
    Connection = SteadyConnection


app = Celery("evalsuite", amqp=SteadyAMQP)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(related_name="worker")  # what runs beside the tasks: the sweeper


@celeryd_init.connect
def _require_safe(**_: object) -> None:
    """For workers in processes of their own; the one inside the serve process is started otherwise."""
    from django.core.exceptions import ImproperlyConfigured

    from evalsuite import startup

    try:
        startup.require_safe("worker")
    except ImproperlyConfigured as problem:
        raise SystemExit(f"evalsuite: {problem}") from problem  # Celery would log any other, and go on


@task_prerun.connect
@task_postrun.connect
def keep_no_connection(task: Any, **_: object) -> None:
    """In place of Celery's own way, which ends the pool of a process with each task (CELERY_DB_REUSE_MAX)."""
    if not task.request.is_eager:
        let_go()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """In place of Celery's own: our settings have said how lines look and which ones there are."""
