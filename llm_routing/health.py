"""Which endpoints want to be left alone: the circuit breaker's two memories, and a record for people.

The gate of an endpoint has what all processes know. This process besides remembers at once what a server
has just said to it, so that the calls of its other threads do not run into the same answer meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.utils import timezone

from evalsuite.errors import EvalsuiteError
from llm_routing import slots
from llm_routing.errors import (
    BrokenStream,
    Cancelled,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
)
from llm_routing.gates import Gate
from llm_routing.models import EndpointRecord

log = logging.getLogger(__name__)

LOCAL_PAUSE_S = 1.0  # by then all processes know what this one has seen
REMEMBERED = 1000  # endpoints
# The record is written so often by one process at most: calls end by the thousand.
ANSWERS_NOTED_EVERY_S, FAILURES_NOTED_EVERY_S = 10.0, 1.0
FAILURE_TOLD = 500  # characters

_paused_until: dict[UUID, float] = {}  # by time.monotonic
_failures: dict[UUID, int] = {}  # in a row, in this process
_noted: dict[tuple[UUID, bool], float] = {}  # (endpoint, failed) -> time.monotonic of the last note


def is_failure(error: EvalsuiteError | None) -> bool:
    """Whether a call ended by the fault of its server; an answer that says no shows that it works."""
    if isinstance(error, ProviderUnavailable | ProviderTimeout | BrokenStream):
        return not error.permanent
    return type(error) is ProviderError


def elsewhere(error: EvalsuiteError) -> bool:
    """Whether another endpoint may answer what this one could not begin to."""
    if isinstance(error, ProviderTimeout):
        return error.phase == "connect"
    return isinstance(error, ProviderUnavailable)


def retry_after(error: EvalsuiteError | None) -> float | None:
    return error.retry_after if isinstance(error, ProviderUnavailable) else None


def note(endpoint: UUID, error: EvalsuiteError | None) -> None:
    """Keep in this process, at once, that the server has asked for a pause, or fails again and again.

    A server that refuses connections does so in a millisecond: many cells would try it before all know.
    """
    if not is_failure(error):
        if not isinstance(error, Cancelled):
            _failures.pop(endpoint, None)
        return
    for memory in (_paused_until, _failures):
        if len(memory) > REMEMBERED:
            memory.clear()
    _failures[endpoint] = _failures.get(endpoint, 0) + 1
    seconds = retry_after(error) or (LOCAL_PAUSE_S if _failures[endpoint] >= settings.BREAKER_FAILURES else 0)
    if seconds:
        _paused_until[endpoint] = max(_paused_until.get(endpoint, 0), time.monotonic() + seconds)


def pause_of(endpoint: UUID) -> float:
    """Seconds that are left of such a pause."""
    until = _paused_until.get(endpoint)
    return max(0.0, until - time.monotonic()) if until else 0.0


def report(endpoint: UUID, errors: Sequence[EvalsuiteError | None]) -> None:
    """Tell all processes how calls ended, in order. Never raises."""

    def alter(gate: Gate) -> None:
        for error in errors:
            if isinstance(error, Cancelled):
                continue
            if is_failure(error):
                gate.failed(retry_after(error), most=settings.BREAKER_FAILURES)
            else:
                gate.succeeded()

    try:
        slots.change_gate(endpoint, alter)
    except (ProviderUnavailable, DatabaseTrouble):
        log.warning("how calls at endpoint %s ended could not be noted", endpoint, exc_info=True)
    _keep_record(endpoint, errors)


def _keep_record(endpoint: UUID, errors: Sequence[EvalsuiteError | None]) -> None:
    """For the page of servers: never in the way of a call, so it may miss some and never raises."""
    failure = next((error for error in reversed(errors) if is_failure(error)), None)
    answered = any(not is_failure(error) and not isinstance(error, Cancelled) for error in errors)
    now: dict[str, object] = {}
    if answered and _due(endpoint, False, ANSWERS_NOTED_EVERY_S):
        now["answered_at"] = timezone.now()
    if failure and _due(endpoint, True, FAILURES_NOTED_EVERY_S):
        now |= {"failed_at": timezone.now(), "failure": str(failure)[:FAILURE_TOLD]}
    if not now:
        return
    try:
        if not EndpointRecord.objects.filter(pk=endpoint).update(**now):
            EndpointRecord.objects.bulk_create(
                [EndpointRecord(endpoint_id=endpoint, **now)], ignore_conflicts=True
            )
    except DatabaseTrouble:
        log.warning("the record of endpoint %s could not be written", endpoint, exc_info=True)


def _due(endpoint: UUID, failed: bool, every_s: float) -> bool:
    if len(_noted) > REMEMBERED:
        _noted.clear()
    now, last = time.monotonic(), _noted.get((endpoint, failed))
    if last is not None and now - last < every_s:
        return False
    _noted[endpoint, failed] = now
    return True
