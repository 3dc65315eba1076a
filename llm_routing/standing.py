"""How the endpoints of an org's providers are now, in words, for the page of servers."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import redis
from django.db.models import Count, Max, Q

from evalsuite.orgs.models import Org
from llm_routing import slots
from llm_routing.gates import Gate
from llm_routing.models import Endpoint, EndpointRecord, Provider

log = logging.getLogger(__name__)

State = Literal["up", "unused", "probing", "held", "paused", "off", "unknown"]
WORDS: dict[State, str] = {
    "up": "works",
    "unused": "not used yet",
    "probing": "on trial",
    "held": "left alone",
    "paused": "asked for a pause",
    "off": "switched off",
    "unknown": "not known",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One endpoint. Counts are over all processes and all orgs that share it; None where nobody can tell."""

    endpoint: Endpoint
    state: State
    next_probe_s: int | None  # until the next call is tried; None: calls are made
    failures: int  # in a row
    in_use: int | None
    waiting: int | None  # requests of people; cells wait in their batches
    answered_at: datetime | None
    failed_at: datetime | None
    failure: str

    @property
    def words(self) -> str:
        return WORDS[self.state]

    @property
    def is_full(self) -> bool:
        return self.in_use is not None and self.in_use >= self.endpoint.slots


@dataclass(frozen=True, slots=True)
class Server:
    provider: Provider
    endpoints: list[Standing]
    model_count: int  # available now
    models_seen_at: datetime | None


def servers(org: Org) -> list[Server]:
    """The providers that the org may see, each with its endpoints. As many queries for many as for few."""
    seen = Q(offers__available=True)
    providers = list(
        Provider.objects.visible_to(org).annotate(
            model_count=Count("offers", filter=seen), seen_at=Max("offers__last_seen_at")
        )
    )
    endpoints = [endpoint for provider in providers for endpoint in provider.endpoints.all()]
    gates = _gates(endpoints)
    records = EndpointRecord.objects.in_bulk([endpoint.pk for endpoint in endpoints])
    return [
        Server(
            provider,
            [
                _standing(provider, one, None if gates is None else gates[one.pk], records.get(one.pk))
                for one in provider.endpoints.all()
            ],
            provider.model_count,
            provider.seen_at,
        )
        for provider in providers
    ]


def fingerprint(found: Iterable[Server]) -> str:
    """Of which endpoints there are: a page that shows others must be loaded anew."""
    ids = sorted(str(one.endpoint.pk) for server in found for one in server.endpoints)
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


def _gates(endpoints: Sequence[Endpoint]) -> dict[UUID, Gate] | None:
    """None while Redis, which knows, is away."""
    if not endpoints:
        return {}
    try:
        return slots.store().look([endpoint.pk for endpoint in endpoints]).gates
    except redis.RedisError as error:
        log.warning("Redis does not answer: %s", error)
        return None


def _standing(
    provider: Provider, endpoint: Endpoint, gate: Gate | None, record: EndpointRecord | None
) -> Standing:
    return Standing(
        endpoint=endpoint,
        state=_state(provider, endpoint, gate, record),
        next_probe_s=math.ceil(gate.held_for) if gate and gate.held_for else None,
        failures=gate.health.failures if gate else 0,
        in_use=len(gate.holders) if gate else None,
        waiting=len(gate.waiters) if gate else None,
        answered_at=record.answered_at if record else None,
        failed_at=record.failed_at if record else None,
        failure=record.failure if record else "",
    )


def _state(provider: Provider, endpoint: Endpoint, gate: Gate | None, record: EndpointRecord | None) -> State:
    if not (provider.enabled and endpoint.enabled):
        return "off"
    if gate is None:
        return "unknown"
    if gate.held_for:
        return "held" if gate.is_tripped else "paused"
    if gate.is_tripped:
        return "probing"
    return "up" if gate.holders or (record and record.answered_at) else "unused"
