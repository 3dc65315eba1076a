"""At most so many calls in the air at an endpoint, counted over all processes and machines.

A slot is a lease: its holder renews it while the call lasts, and a holder that dies gives
it back by silence. Counted in Redis where there is one, in the database otherwise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from uuid import UUID

import redis
from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from evalsuite.clock import in_seconds
from evalsuite.ids import new_id
from llm_routing.errors import ProviderUnavailable
from llm_routing.models import SlotLease

log = logging.getLogger(__name__)

LEASE_S = 15.0  # a dead holder blocks its slot for so long at most


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to one call at an endpoint."""

    endpoint: UUID
    holder: UUID


class SlotStore(Protocol):
    def acquire(self, endpoint: UUID, capacity: int, want: int) -> list[Slot]:
        """Up to `want` slots, at once; fewer, or none, where others hold them."""
        ...

    def renew(self, slots: Sequence[Slot]) -> None: ...

    def release(self, slots: Sequence[Slot]) -> None: ...

    def busy(self, endpoint: UUID) -> int:
        """How many slots are held now."""
        ...


class DatabaseSlots:
    """One row for each slot, taken by whoever writes its name into it."""

    def acquire(self, endpoint: UUID, capacity: int, want: int) -> list[Slot]:
        free = Q(expires_at=None) | Q(expires_at__lt=Now())
        with transaction.atomic():
            rows = SlotLease.objects.filter(endpoint=endpoint)
            if rows.count() < capacity:
                SlotLease.objects.bulk_create(
                    [SlotLease(endpoint_id=endpoint, number=number) for number in range(capacity)],
                    ignore_conflicts=True,
                )
            chosen = rows.filter(free, number__lt=capacity).order_by("number")
            taken = list(chosen.select_for_update(skip_locked=True)[:want])
            for row in taken:
                row.holder = new_id()
                row.expires_at = in_seconds(LEASE_S)
            SlotLease.objects.bulk_update(taken, ["holder", "expires_at"])
        return [Slot(endpoint, row.holder) for row in taken if row.holder]

    def renew(self, slots: Sequence[Slot]) -> None:
        self._held(slots).update(expires_at=in_seconds(LEASE_S))

    def release(self, slots: Sequence[Slot]) -> None:
        self._held(slots).update(holder=None, expires_at=None)

    def busy(self, endpoint: UUID) -> int:
        return SlotLease.objects.filter(endpoint=endpoint, expires_at__gte=Now()).count()

    def _held(self, slots: Sequence[Slot]) -> QuerySet[SlotLease]:
        return SlotLease.objects.filter(holder__in=[slot.holder for slot in slots])


class RedisSlots:
    """A sorted set for each endpoint: holders by the time their lease ends, on Redis' own clock."""

    ACQUIRE = """
    local t = redis.call('TIME')
    local now = t[1] + t[2] / 1000000
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    local free = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
    local taken = 0
    for i = 3, #ARGV do
      if taken >= free then break end
      redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i])
      taken = taken + 1
    end
    redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2] * 4))
    return taken
    """
    # A holder that Redis forgot (it was wiped) is written again: its call is still in the air.
    RENEW = """
    local t = redis.call('TIME')
    local now = t[1] + t[2] / 1000000
    for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
    redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[1] * 4))
    """
    BUSY = """
    local t = redis.call('TIME')
    return redis.call('ZCOUNT', KEYS[1], t[1] + t[2] / 1000000, '+inf')
    """

    def __init__(self, url: str) -> None:
        client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3)
        self._client = client
        self._acquire = client.register_script(self.ACQUIRE)
        self._renew = client.register_script(self.RENEW)
        self._busy = client.register_script(self.BUSY)

    def acquire(self, endpoint: UUID, capacity: int, want: int) -> list[Slot]:
        holders = [new_id() for _ in range(want)]
        names = [holder.hex for holder in holders]
        taken = int(self._acquire(keys=[self._key(endpoint)], args=[capacity, LEASE_S, *names]))
        return [Slot(endpoint, holder) for holder in holders[:taken]]

    def renew(self, slots: Sequence[Slot]) -> None:
        for endpoint, names in _by_endpoint(slots).items():
            self._renew(keys=[self._key(endpoint)], args=[LEASE_S, *names])

    def release(self, slots: Sequence[Slot]) -> None:
        for endpoint, names in _by_endpoint(slots).items():
            self._client.zrem(self._key(endpoint), *names)

    def busy(self, endpoint: UUID) -> int:
        return int(self._busy(keys=[self._key(endpoint)]))

    @staticmethod
    def _key(endpoint: UUID) -> str:
        return f"evalsuite:slots:{endpoint.hex}"


def _by_endpoint(slots: Iterable[Slot]) -> dict[UUID, list[str]]:
    groups: dict[UUID, list[str]] = defaultdict(list)
    for slot in slots:
        groups[slot.endpoint].append(slot.holder.hex)
    return groups


@cache
def store() -> SlotStore:
    return RedisSlots(settings.REDIS_URL) if settings.REDIS_URL else DatabaseSlots()


class Keeper:
    """Renews the leases of all slots that this process holds, from one thread while there are any."""

    def __init__(self) -> None:
        self._held: set[Slot] = set()
        self._lock = threading.Lock()
        self._running = False

    def add(self, slots: Iterable[Slot]) -> None:
        with self._lock:
            self._held.update(slots)
            if self._held and not self._running:
                self._running = True
                threading.Thread(target=self._renew_for_ever, name="slot-keeper", daemon=True).start()

    def discard(self, slots: Iterable[Slot]) -> None:
        with self._lock:
            self._held.difference_update(slots)

    def _renew_for_ever(self) -> None:
        while True:
            time.sleep(LEASE_S / 3)
            with self._lock:
                held = list(self._held)
                if not held:
                    self._running = False
                    return
            try:
                store().renew(held)
            except (DatabaseError, redis.RedisError):
                # Two more turns before a lease ends; the call itself must not suffer.
                log.warning("could not renew %d slots", len(held), exc_info=True)
            finally:
                connections.close_all()


keeper = Keeper()


def acquire(endpoint: UUID, capacity: int, want: int) -> list[Slot]:
    """Up to `want` of the endpoint's slots, kept until `release`. Never waits.

    Raises ProviderUnavailable while Redis does not answer: without a count there is no limit.
    """
    if want <= 0:
        return []
    try:
        slots = store().acquire(endpoint, capacity, want)
    except redis.RedisError as error:
        log.warning("Redis does not answer: %s", error)
        raise ProviderUnavailable(
            "The count of free slots cannot be read at the moment.", retry_after=2
        ) from error
    keeper.add(slots)
    return slots


def release(slots: Sequence[Slot]) -> None:
    """Give slots back. Giving back one that was lost already does nothing."""
    if not slots:
        return
    keeper.discard(slots)
    try:
        store().release(slots)
    except redis.RedisError as error:
        log.warning("Redis does not answer, %d slots come back in %s s: %s", len(slots), LEASE_S, error)
