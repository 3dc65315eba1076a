"""Calls as the tests of the transport make them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from llm_routing.errors import (
    Cancelled,
    ProviderTimeout,
)
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.refusals import require_ok
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits

LONG = Limits(connect_s=20, first_token_s=20, idle_s=20, total_s=20)


def read_all(
    client: Transport, limits: Limits, handle: CallHandle | None = None, *, tokens=True
) -> list[str]:
    """All lines, each taken for a token."""
    lines = []
    with client.open("POST", "/x", {"a": 1}, limits=limits, handle=handle) as exchange:
        require_ok(exchange)
        for line in exchange.lines():
            exchange.first_token()
            lines.append(line)
    return lines


def cancelled_after(delay_s: float, client: Transport) -> float:
    """Seconds between the cancel and the end of the call."""
    handle = CallHandle()
    moment = []

    def cancel() -> None:
        moment.append(time.monotonic())
        handle.cancel()
        handle.cancel()

    threading.Timer(delay_s, cancel).start()
    with pytest.raises(Cancelled):
        read_all(client, LONG, handle)
    assert handle.cancelled
    return time.monotonic() - moment[0]


def late(client: Transport, phase: str, **limits: float) -> float:
    """Seconds until the limit of this phase ended the call."""
    started = time.monotonic()
    with pytest.raises(ProviderTimeout) as caught:
        read_all(client, replace(LONG, **limits))
    assert caught.value.phase == phase
    return time.monotonic() - started
