"""The Celery application: how it waits for a broker that is away."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError
from kombu.utils import functional

from evalsuite.celery import LOOK_AGAIN_S, app
from tests.chaos.parts import free_port


def test_a_worker_looks_for_its_broker_as_often_after_an_hour_as_at_first(monkeypatch):
    waits = []
    monkeypatch.setattr(functional, "sleep", lambda seconds: None)
    connection = app.connection_for_read(url=f"redis://127.0.0.1:{free_port()}/0", transport="redis")
    with pytest.raises(OperationalError):
        # As Celery's consumer does it.
        connection.ensure_connection(lambda error, wait: waits.append(wait), 20)
    assert len(waits) >= 20
    assert max(waits) == LOOK_AGAIN_S


def test_a_worker_never_gives_its_broker_up():
    assert app.conf.broker_connection_max_retries is None
