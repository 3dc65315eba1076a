"""At most so many calls in the air at an endpoint, and under any other cap, over all processes and machines.

A slot is a lease: its holder renews it while the call lasts, and a holder that dies gives
it back by silence. `gates` has the rules, `gate_stores` keeps what they decide on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar
from uuid import UUID

import redis
from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.db import connections

from evalsuite.ids import new_id
from llm_routing import gates
from llm_routing.errors import ProviderUnavailable
from llm_routing.gate_stores import DatabaseGates, Gates, RedisGates, View
from llm_routing.gates import Door, Gate, Holder

log = logging.getLogger(__name__)

LEASE_S = 15.0  # a dead holder blocks its slot for so long at most
RENEW_S = 2.0  # well within the lease, and within the grace after a wipe
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to one call at a time at an endpoint, counted under all its caps as well."""

    endpoint: UUID
    capacity: int
    holder: UUID
    caps: tuple[tuple[UUID, int], ...] = ()  # scope and most
    key: str = ""  # what is loaded at the server for it
    tag: str = ""  # whose it is, as far as turns go
    interactive: bool = False
    warm_up: bool = False  # its holder loads the model first; nobody else is let in until then

    @property
    def scopes(self) -> list[UUID]:
        return [self.endpoint, *(scope for scope, _ in self.caps)]


@cache
def store() -> Gates:
    return Gates(RedisGates(settings.REDIS_URL) if settings.REDIS_URL else DatabaseGates())


def take(
    doors: Sequence[Door],
    want: int,
    *,
    caps: Sequence[tuple[UUID, int]] = (),
    key: str = "",
    tag: str = "",
    turn_s: float = 0,
) -> list[Slot]:
    """Up to `want` slots at the least busy of the doors that are open, under all caps. Never waits.

    Raises ProviderUnavailable while Redis does not answer: without a count there is no limit.
    """
    if want <= 0:
        return []
    names = [new_id() for _ in range(want)]

    def decide(view: View) -> list[Slot]:
        if not view.settled:
            keeper.hurry()
            return []
        taken: list[Slot] = []
        for name in names:
            if any(len(view.gates[scope].holders) >= most for scope, most in caps):
                return taken
            if (door := gates.pick(view.gates, list(doors), key, tag, turn_s)) is None:
                break
            held = Slot(door.scope, door.capacity, name, tuple(caps), key if door.turns else "", tag)
            taken.append(_enter(view.gates, held, warm=door.turns))
        for door in doors if key else ():
            if len(taken) == len(names):
                view.gates[door.scope].satisfied(key, tag)
            elif door.turns:
                view.gates[door.scope].want(key, tag)
        return taken

    scopes = [*(door.scope for door in doors), *(scope for scope, _ in caps)]
    taken = _change(scopes, decide)
    keeper.add(taken)
    return taken


def take_or_wait(doors: Sequence[Door], waiter: UUID) -> Slot | None:
    """A slot for a request of a person, else its place in the line: then ask again within a second.

    While it stands in line, a slot that comes free is not given to work that can wait.
    Raises ProviderUnavailable while Redis does not answer.
    """

    def decide(view: View) -> Slot | None:
        open_doors = [door for door in doors if view.gates[door.scope].free_for(waiter.hex, door.capacity)]
        door = gates.least_busy(view.gates, open_doors) if view.settled else None
        if door is not None:
            for other in doors:
                view.gates[other.scope].waiters.pop(waiter.hex, None)
            return _enter(view.gates, Slot(door.scope, door.capacity, waiter, interactive=True))
        places = [door for door in doors if waiter.hex in view.gates[door.scope].waiters]
        place = places[0] if places else gates.least_busy(view.gates, list(doors))
        if place is not None:
            view.gates[place.scope].wait(waiter.hex)
        return None

    slot = _change([door.scope for door in doors], decide)
    if slot:
        keeper.add([slot])
    return slot


def leave_line(doors: Sequence[Door], waiter: UUID) -> None:
    """Wait no more."""

    def decide(view: View) -> None:
        for gate in view.gates.values():
            gate.waiters.pop(waiter.hex, None)

    _change([door.scope for door in doors], decide, fresh=True, taking=False)


def release(slots: Sequence[Slot], *, over: bool = False) -> None:
    """Give slots back. Giving back one that was lost already does nothing. Never raises: leases end.

    `over`: their holder knows of no more work for what is loaded, so its turn may end at once.
    """
    if not slots:
        return
    keeper.discard(slots)

    def decide(view: View) -> None:
        for slot in slots:
            for scope in slot.scopes:
                view.gates[scope].let_go(slot.holder.hex, over=over)

    try:
        store().change(_scopes(slots), decide, fresh=True, taking=False)
    except (DatabaseTrouble, redis.RedisError) as error:
        log.warning("%d slots come back only in %s s: %s", len(slots), LEASE_S, error)


def to_leave(slots: Sequence[Slot], turn_s: float) -> int:
    """How many of these slots should be given back after their current calls.

    No one's while Redis does not answer: what is held stays held.
    """
    if not slots:
        return 0
    try:
        seen = store().look(_scopes(slots)).gates
    except redis.RedisError as error:
        log.warning("Redis does not answer: %s", error)
        return 0
    bounds = {slot.endpoint: slot.capacity for slot in slots}
    bounds.update(cap for slot in slots for cap in slot.caps)
    leaving: set[str] = set()
    for scope, most in bounds.items():
        leaving |= seen[scope].to_leave(most, turn_s)
    return sum(slot.holder.hex in leaving for slot in slots)


def holders(scope: UUID) -> int:
    """How many slots are held under this scope; 0 while Redis does not answer."""
    try:
        return len(store().look([scope]).gates[scope].holders)
    except redis.RedisError as error:
        log.warning("Redis does not answer: %s", error)
        return 0


def change_gate(scope: UUID, alter: Callable[[Gate], None]) -> None:
    """Note something at one gate. Raises ProviderUnavailable while Redis does not answer."""
    _change([scope], lambda view: alter(view.gates[scope]), taking=False)


def held_for(scope: UUID) -> float:
    """Seconds until calls may be tried at this endpoint again; 0 where they may be made."""
    return _guarded(lambda: store().look([scope]).gates[scope].held_for)


def _enter(seen: dict[UUID, Gate], slot: Slot, *, warm: bool = False) -> Slot:
    holder = Holder(seen[slot.endpoint].now + LEASE_S, slot.key, slot.tag, slot.interactive)
    load = bool(slot.key) and seen[slot.endpoint].take_turn(slot.key, slot.holder.hex) and warm
    for scope in slot.scopes:
        seen[scope].hold(slot.holder.hex, holder)
    if not load:
        return slot
    return Slot(slot.endpoint, slot.capacity, slot.holder, slot.caps, slot.key, slot.tag, warm_up=True)


def _scopes(slots: Iterable[Slot]) -> list[UUID]:
    return list(dict.fromkeys(scope for slot in slots for scope in slot.scopes))


def _change(
    scopes: Collection[UUID], decide: Callable[[View], T], *, fresh: bool = False, taking: bool = True
) -> T:
    return _guarded(lambda: store().change(scopes, decide, fresh=fresh, taking=taking))


def _guarded(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except redis.RedisError as error:
        log.warning("Redis does not answer: %s", error)
        raise ProviderUnavailable(
            "The count of free slots cannot be read at the moment.", retry_after=2
        ) from error


class Keeper:
    """Renews the leases of all slots that this process holds, from one thread while there are any."""

    def __init__(self) -> None:
        self._held: set[Slot] = set()
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._running = False

    @property
    def held(self) -> list[Slot]:
        with self._lock:
            return list(self._held)

    def add(self, slots: Iterable[Slot]) -> None:
        with self._lock:
            self._held.update(slots)
            if self._held and not self._running:
                self._running = True
                threading.Thread(target=self._renew_for_ever, name="slot-keeper", daemon=True).start()

    def discard(self, slots: Iterable[Slot]) -> None:
        with self._lock:
            self._held.difference_update(slots)

    def hurry(self) -> None:
        """The memory of all gates was lost: write ours in again now."""
        self._hurry.set()

    def renew(self) -> None:
        """A holder that the store forgot is written in again: its call is still in the air."""
        held = self.held

        def decide(view: View) -> None:
            with self._lock:
                # One that is given back meanwhile must not come to life again.
                still = self._held.intersection(held)
            for slot in still:
                for scope in slot.scopes:
                    gate = view.gates[scope]
                    gate.holders[slot.holder.hex] = Holder(
                        gate.now + LEASE_S, slot.key, slot.tag, slot.interactive
                    )

        if held:
            store().change(_scopes(held), decide, fresh=True, taking=False)

    def _renew_for_ever(self) -> None:
        while True:
            if self._hurry.wait(min(RENEW_S, LEASE_S / 3)):
                self._hurry.clear()
            with self._lock:
                if not self._held:
                    self._running = False
                    return
            try:
                self.renew()
            except (DatabaseTrouble, redis.RedisError):
                # More turns follow before a lease ends; the call itself must not suffer.
                log.warning("could not renew the slots", exc_info=True)
            except Exception:
                # Nobody else renews: without this thread calls would go beyond their slots.
                log.exception("a round of renewing slots broke")
            finally:
                connections.close_all()


keeper = Keeper()


def _after_fork() -> None:
    global keeper  # noqa: PLW0603 - a forked child has none of its parent's threads, and none of its calls
    keeper = Keeper()


os.register_at_fork(after_in_child=_after_fork)
os.register_at_fork(after_in_child=store.cache_clear)  # another thread of the parent may hold its locks
