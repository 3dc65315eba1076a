"""Where gates are kept, for all processes and machines: in Redis where there is one, else in the database.

A change is made by compare and swap: read, decide (`gates`), and write only where nothing has changed
meanwhile. So the rules exist once, and a decision holds exactly or not at all.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from uuid import UUID

import redis
from django.db import transaction
from django.db.models.functions import Now

from evalsuite.clock import in_seconds
from evalsuite.ids import new_id
from llm_routing.gates import Gate
from llm_routing.models import GateState

FRESH_S = 0.025  # what was read so recently may serve for a refusal
KNOWN_S = 5.0  # and so recently for a change: the swap refuses it where it is not true any more
TURN_S = 0.05  # for so long a thread lets others of its process go first
FORGOTTEN_AFTER_S = 86_400  # a gate that nobody touched for so long
WIPED_GRACE_S = 5.0  # after a wipe nothing new is let in until all who hold something have said so again
# The row that tells a wiped Redis from a new one.
REDIS_WAS_HERE = UUID("7b1d8a52-6d0c-5b53-9a3e-5a1f4f0e9d10")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """`settled`: what is written here is complete, so that a free slot is free.

    `memory`: which memory of the store it was read from. It is another one after a loss.
    """

    now: float
    texts: Mapping[UUID, str]
    settled: bool = True
    memory: str = ""


class GateStore(Protocol):
    def load(self, scopes: Sequence[UUID]) -> Reading: ...

    def swap(self, changes: Mapping[UUID, tuple[str, str]], memory: str | None) -> bool:
        """Write all (old, new) or nothing. False where one of them is not the old any more.

        `memory`: refuse also where it is not this one any more; None: whichever it is.
        """
        ...


class DatabaseGates:
    """A row for each gate that has something to remember."""

    def load(self, scopes: Sequence[UUID]) -> Reading:
        rows = self._rows(scopes)
        if not rows:
            # The clock is the database's, so there must be a row to ask along.
            GateState.objects.filter(touched_at__lt=in_seconds(-FORGOTTEN_AFTER_S)).exclude(
                scope=REDIS_WAS_HERE
            ).delete()
            self._make(scopes[:1])
            rows = self._rows(scopes)
        now = rows[0][2].timestamp()
        return Reading(now, {scope: text for scope, text, _ in rows})

    def swap(self, changes: Mapping[UUID, tuple[str, str]], memory: str | None) -> bool:
        self._make([scope for scope, (old, _) in changes.items() if not old])
        with transaction.atomic():
            for scope, (old, new) in sorted(changes.items()):
                mine = GateState.objects.filter(scope=scope, text=old)
                changed = mine.update(text=new, touched_at=Now()) if new else mine.delete()[0]
                if not changed:
                    transaction.set_rollback(True)
                    return False
        return True

    @staticmethod
    def _rows(scopes: Sequence[UUID]) -> list[tuple[UUID, str, Any]]:
        rows = GateState.objects.filter(scope__in=scopes).annotate(db_now=Now())
        return list(rows.values_list("scope", "text", "db_now"))

    @staticmethod
    def _make(scopes: Sequence[UUID]) -> None:
        if scopes:
            rows = [GateState(scope=scope, touched_at=Now()) for scope in scopes]
            GateState.objects.bulk_create(rows, ignore_conflicts=True)


class RedisGates:
    """A string for each gate, on Redis' own clock.

    A key of its own marks that Redis has its memory. Where it is missing Redis was wiped, or is new; the
    database knows which. After a wipe nothing is let in for WIPED_GRACE_S, in which holders write
    themselves in again: their calls are still in the air.
    """

    MARK = "evalsuite:gates"
    SWAP = """
    if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    for i = 2, #KEYS do
      if (redis.call('GET', KEYS[i]) or '') ~= ARGV[2 * i - 1] then return 0 end
    end
    for i = 2, #KEYS do
      if ARGV[2 * i] == '' then redis.call('DEL', KEYS[i])
      else redis.call('SET', KEYS[i], ARGV[2 * i], 'EX', ARGV[2]) end
    end
    return 1
    """

    def __init__(self, url: str) -> None:
        client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3, decode_responses=True)
        self._client = client
        self._swap = client.register_script(self.SWAP)
        self._said_so = False

    def load(self, scopes: Sequence[UUID]) -> Reading:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.mget([self.MARK, *map(self._key, scopes)])
        (seconds, microseconds), (mark, *texts) = pipeline.execute()
        now = seconds + microseconds / 1_000_000
        if mark is None or not self._said_so:
            mark = self._mark(now)
        held = zip(scopes, texts, strict=True)
        opens_at = float(mark.partition(" ")[0])
        return Reading(now, {scope: text or "" for scope, text in held}, opens_at <= now, mark)

    def swap(self, changes: Mapping[UUID, tuple[str, str]], memory: str | None) -> bool:
        keys = [self.MARK, *map(self._key, changes)]
        texts = [text for change in changes.values() for text in change]
        return bool(self._swap(keys=keys, args=[memory or "", FORGOTTEN_AFTER_S, *texts]))

    def _mark(self, now: float) -> str:
        """From when on slots may be given, and a name; written by whoever finds first that there is none."""
        seen_before = GateState.objects.filter(scope=REDIS_WAS_HERE).exists()
        opens_at = now + WIPED_GRACE_S if seen_before else now
        self._client.set(self.MARK, f"{opens_at} {new_id().hex}", nx=True)
        if not seen_before:
            GateState.objects.bulk_create(
                [GateState(scope=REDIS_WAS_HERE, touched_at=Now())], ignore_conflicts=True
            )
        self._said_so = True
        return str(self._client.get(self.MARK) or f"{now + WIPED_GRACE_S} lost")

    @staticmethod
    def _key(scope: UUID) -> str:
        return f"evalsuite:gate:{scope.hex}"


@dataclass(frozen=True, slots=True)
class View:
    """What a decision sees and may alter."""

    gates: dict[UUID, Gate]
    settled: bool


class Gates:
    """Gates as this process sees them. Many threads that ask the same within FRESH_S ask the store once."""

    def __init__(self, store: GateStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._known: dict[UUID, tuple[float, Reading]] = {}  # with the moment by our clock

    def look(self, scopes: Collection[UUID]) -> View:
        reading = self._read(scopes, fresh=False)
        return View(_parsed(reading), reading.settled)

    def change(
        self,
        scopes: Collection[UUID],
        decide: Callable[[View], T],
        *,
        fresh: bool = False,
        taking: bool = True,
    ) -> T:
        """Let `decide` alter the gates of these scopes, all of them or none, as often as it takes.

        It may be asked several times; what it says last counts. `fresh`: let it see what is there now.
        """
        attempt = 0
        while True:
            with self._in_turn():
                if not (fresh or attempt) and (done := self._change_known(scopes, decide, taking=taking)):
                    return done[0]
                reading = self._read(scopes, fresh=fresh or attempt > 0)
                gates = _parsed(reading)
                result = decide(View(gates, reading.settled))
                if self._write(reading, _changes(reading, gates), taking=taking):
                    return result
            attempt += 1
            time.sleep(random.uniform(0, 0.001 * min(attempt, 20)))  # noqa: S311 - spreads the tries

    def _change_known(
        self, scopes: Collection[UUID], decide: Callable[[View], T], *, taking: bool
    ) -> tuple[T] | None:
        """A change by what was read last, without reading first; None where that does not do.

        A gate that is not swapped may have changed meanwhile, so all of them must be.
        """
        reading = self._recall(scopes, time.monotonic(), KNOWN_S)
        if reading is None:
            return None
        gates = _parsed(reading)
        result = decide(View(gates, reading.settled))
        changes = _changes(reading, gates)
        if len(changes) < len(gates) or not self._write(reading, changes, taking=taking):
            return None
        return (result,)

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Threads of this process let each other finish, where that is soon: all at once they would fail.

        A courtesy and no more: it is the swap that makes a change exact. Whoever is ahead may wait for a
        connection that those behind hold, or for a silent store.
        """
        has_turn = self._turn.acquire(timeout=TURN_S)
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    def _write(self, reading: Reading, changes: Mapping[UUID, tuple[str, str]], *, taking: bool) -> bool:
        """False where somebody else has changed one of them meanwhile."""
        if not changes:
            return True
        if not self.store.swap(changes, reading.memory if taking else None):
            return False
        # What was only read is no fresher than before.
        texts = {scope: new for scope, (_, new) in changes.items()}
        self._remember(replace(reading, texts=texts), time.monotonic())
        return True

    def _read(self, scopes: Collection[UUID], *, fresh: bool) -> Reading:
        asked_at = time.monotonic()
        if not fresh and (known := self._recall(scopes, asked_at, FRESH_S)):
            return known
        loaded = self.store.load(list(scopes))
        reading = replace(loaded, texts={scope: loaded.texts.get(scope, "") for scope in scopes})
        self._remember(reading, asked_at)
        return reading

    def _recall(self, scopes: Collection[UUID], now: float, within_s: float) -> Reading | None:
        with self._lock:
            found = {scope: self._known.get(scope) for scope in scopes}
        recent = {scope: one for scope, one in found.items() if one and now - one[0] < within_s}
        if len(recent) < len(found) or len({reading.memory for _, reading in recent.values()}) != 1:
            return None
        at, latest = max(recent.values(), key=lambda one: one[0])
        texts = {scope: reading.texts[scope] for scope, (_, reading) in recent.items()}
        return Reading(latest.now + now - at, texts, latest.settled, latest.memory)

    def _remember(self, reading: Reading, at: float) -> None:
        with self._lock:
            if len(self._known) > 1000:
                self._known.clear()
            for scope in reading.texts:
                self._known[scope] = (at, reading)


def _parsed(reading: Reading) -> dict[UUID, Gate]:
    return {scope: Gate.parse(text, reading.now) for scope, text in reading.texts.items()}


def _changes(reading: Reading, gates: Mapping[UUID, Gate]) -> dict[UUID, tuple[str, str]]:
    """Old and new texts of the gates that are not as they were read."""
    texts = {scope: (reading.texts[scope], gate.text()) for scope, gate in gates.items()}
    return {scope: (old, new) for scope, (old, new) in texts.items() if old != new}
