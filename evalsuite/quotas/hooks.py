"""What apps above tell us (names for ids, use that they alone can count) and want to be told.

Filled by their `ready()`, since the ground imports no app above it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from uuid import UUID

from evalsuite.orgs.models import Org

Namer = Callable[[Org, Collection[UUID]], Mapping[UUID, str]]
Gauge = Callable[[Org], int]
Listener = Callable[[Org], None]

_namers: dict[str, Namer] = {}
_gauges: dict[str, Gauge] = {}
_listeners: list[Listener] = []


def register_namer(kind: str, namer: Namer) -> None:
    """`namer` gives the names of an org's objects of this kind ("experiment"), as far as they exist."""
    _namers[kind] = namer


def register_gauge(limit: str, gauge: Gauge) -> None:
    """`gauge` tells how much of this limit ("parallelCells") an org uses now."""
    _gauges[limit] = gauge


def register_listener(listener: Listener) -> None:
    """`listener` is told, in the transaction that changes them, that an org has other limits now."""
    _listeners.append(listener)


def limits_changed(org: Org) -> None:
    for listener in _listeners:
        listener(org)


def names(kind: str, org: Org, ids: Collection[UUID]) -> Mapping[UUID, str]:
    return _namers[kind](org, ids) if kind in _namers and ids else {}


def gauge(limit: str, org: Org) -> int | None:
    """None where nobody counts it."""
    return _gauges[limit](org) if limit in _gauges else None
