"""What one gate knows, and whom it lets through: rules over plain values, without a database and a clock.

An endpoint has a gate, and so has every other bound on calls in the air (a batch's parallel limit, an
org's). All times are seconds by the clock of the store that keeps the gate (`gate_stores`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from uuid import UUID

WAIT_S = 3.0  # a waiting request that says nothing for so long is gone
WANT_S = 0.4  # so is somebody who wants a turn; permits ask every 20 to 50 ms
TURN_GRACE_S = 0.5  # between two permits of a batch; afterwards the turn is free
LAST_CALL_S = 0.1  # so much of it is left for others of the same key when a holder has no more work
STAYS_LOADED_S = 240.0  # a server keeps an idle model for five minutes

PLENTY = 1_000_000

FAILURES_IN_A_ROW = 5
FIRST_HOLD_S, LONGEST_HOLD_S = 5.0, 120.0


@dataclass(slots=True)
class Holder:
    """One call, or a row of calls one after the other.

    `key`: what it has loaded at the server, where that matters. `tag`: whose it is.
    """

    expires: float
    key: str = ""
    tag: str = ""
    interactive: bool = False


@dataclass(slots=True)
class Turn:
    """A server works for one key at a time, so that it need not load between any two calls."""

    key: str
    since: float
    until: float  # without holders: free from then on
    used: float
    warmer: str = ""  # the holder that loads the model while all others wait
    ready: bool = False


@dataclass(slots=True)
class Want:
    """Somebody asked for a turn, or for more lanes in it, in vain."""

    key: str
    tag: str
    since: float
    expires: float


@dataclass(slots=True)
class Health:
    """The circuit breaker. `held_until` in the past: one probe may try whether all is well again."""

    failures: int = 0  # in a row
    hold_s: float = 0.0
    held_until: float = 0.0
    probe: str = ""  # the holder that tries


@dataclass(slots=True)
class Gate:
    now: float
    holders: dict[str, Holder] = field(default_factory=dict)
    waiters: dict[str, float] = field(default_factory=dict)  # requests of people, in order of arrival
    wants: list[Want] = field(default_factory=list)
    turn: Turn | None = None
    health: Health = field(default_factory=Health)

    @classmethod
    def parse(cls, text: str, now: float) -> Gate:
        """A gate as stored; what has expired by `now` is left out."""
        if not text:
            return cls(now)
        stored = json.loads(text)
        return cls(
            now,
            holders={name: Holder(*row) for name, row in stored.get("h", {}).items() if row[0] > now},
            waiters={name: expires for name, expires in stored.get("w", {}).items() if expires > now},
            wants=[Want(*row) for row in stored.get("n", ()) if row[3] > now],
            turn=Turn(*stored["t"]) if "t" in stored else None,
            health=Health(*stored["b"]) if "b" in stored else Health(),
        )

    def text(self) -> str:
        """As stored; empty where there is nothing to remember."""
        stored: dict[str, object] = {}
        if self.holders:
            stored["h"] = {
                name: [round(held.expires, 3), held.key, held.tag, held.interactive]
                for name, held in self.holders.items()
            }
        if self.waiters:
            stored["w"] = {name: round(expires, 3) for name, expires in self.waiters.items()}
        if self.wants:
            stored["n"] = [
                [want.key, want.tag, round(want.since, 3), round(want.expires, 3)] for want in self.wants
            ]
        if turn := self.turn:
            times = (round(turn.since, 3), round(turn.until, 3), round(turn.used, 3))
            stored["t"] = [turn.key, *times, turn.warmer, turn.ready]
        if self.health != Health():
            health = self.health
            stored["b"] = [
                health.failures,
                round(health.hold_s, 3),
                round(health.held_until, 3),
                health.probe,
            ]
        return json.dumps(stored, separators=(",", ":")) if stored else ""

    # Holding -------------------------------------------------------------------------------------

    def hold(self, name: str, holder: Holder) -> None:
        self.holders[name] = holder
        if self.health.held_until:
            self.health.probe = name
        if self.turn and holder.key == self.turn.key:
            self.turn.until = self.now + TURN_GRACE_S
            self.turn.used = self.now

    def let_go(self, name: str, *, over: bool = False) -> None:
        """`over`: the holder knows of no more work for its key. Others who do ask again soon."""
        held = self.holders.pop(name, None)
        if held and self.turn and held.key == self.turn.key:
            self.turn.used = self.now
            self.turn.until = self.now + (LAST_CALL_S if over else TURN_GRACE_S)
            if over:
                self.satisfied(held.key, held.tag)

    def free(self, capacity: int) -> int:
        """Slots for work that can wait: what people wait for is not given away."""
        return max(0, capacity - len(self.holders) - len(self.waiters))

    # Requests of people --------------------------------------------------------------------------

    def free_for(self, waiter: str, capacity: int) -> bool:
        """Whether this request of a person may go now: those who came before it go first."""
        ahead = list(self.waiters)
        place = ahead.index(waiter) if waiter in self.waiters else len(ahead)
        return capacity - len(self.holders) > place and self.open_for_one

    def wait(self, waiter: str) -> None:
        if self.waiters.get(waiter, 0) < self.now + WAIT_S / 2:
            self.waiters[waiter] = self.now + WAIT_S

    # Health --------------------------------------------------------------------------------------

    @property
    def held_for(self) -> float:
        """Seconds until the next try; 0 where calls may be made."""
        return max(0.0, self.health.held_until - self.now)

    @property
    def on_probation(self) -> bool:
        return bool(self.health.held_until) and not self.held_for

    @property
    def is_tripped(self) -> bool:
        """Held for its failures: a pause that the server asked for itself is no verdict on it."""
        return self.health.hold_s > 0

    @property
    def open_for_one(self) -> bool:
        if self.held_for:
            return False
        return not self.on_probation or self.health.probe not in self.holders

    def succeeded(self) -> None:
        self.health.failures = 0
        if not self.held_for:
            self.health = Health()

    def failed(self, retry_after: float | None, *, most: int = FAILURES_IN_A_ROW) -> None:
        """A call failed by the server's fault; `most` of them in a row hold the endpoint.

        `retry_after`: seconds for which it wants to be left alone.
        """
        health = self.health
        health.failures += 1
        if retry_after:
            health.held_until = max(health.held_until, self.now + retry_after)
        elif not self.held_for and (self.is_tripped or health.failures >= most):
            health.hold_s = min(max(FIRST_HOLD_S, 2 * health.hold_s), LONGEST_HOLD_S)
            health.held_until = self.now + health.hold_s

    # Turns ---------------------------------------------------------------------------------------

    def lanes_for(self, key: str, tag: str, turn_s: float) -> int:
        """How many lanes this key may open as far as turns go: 0, 1 (to load the model), or plenty."""
        turn = self._turn()
        under_way = turn is not None and self._alive(turn)
        over = self.turn_over(turn_s)
        if turn and turn.key == key and under_way:
            alone = 0 if turn.warmer in self.holders else 1
            return 0 if over else PLENTY if turn.ready else alone
        others_call = any(held.key not in ("", key) for held in self.holders.values())
        if others_call or (under_way and not over) or not self._first_in_line(key):
            return 0
        still_loaded = turn and turn.key == key and turn.ready and self.now - turn.used < STAYS_LOADED_S
        return PLENTY if still_loaded else 1

    def take_turn(self, key: str, name: str) -> bool:
        """Let this new holder work in its key's turn. True where it has to load the model first."""
        turn = self._turn()
        if turn is None or turn.key != key:
            turn = self.turn = Turn(key, self.now, self.now + TURN_GRACE_S, self.now)
        elif not self._alive(turn):
            turn.since = self.now
            turn.ready = turn.ready and self.now - turn.used < STAYS_LOADED_S
        if not turn.ready:
            turn.warmer = name
        return not turn.ready

    def loaded(self, key: str) -> None:
        if self.turn and self.turn.key == key:
            self.turn.ready = True
            self.turn.warmer = ""

    def want(self, key: str, tag: str) -> None:
        for want in self.wants:
            if (want.key, want.tag) == (key, tag):
                if want.expires < self.now + WANT_S / 2:
                    want.expires = self.now + WANT_S
                return
        self.wants.append(Want(key, tag, self.now, self.now + WANT_S))

    def satisfied(self, key: str, tag: str) -> None:
        self.wants = [want for want in self.wants if (want.key, want.tag) != (key, tag)]

    def turn_over(self, turn_s: float) -> bool:
        """The turn has lasted its time, and somebody waits who gets nothing from it.

        A batch that has work for several keys does not drive itself from one to the next.
        """
        turn = self._turn()
        if turn is None or self.now - turn.since < turn_s:
            return False
        here = {held.tag for held in self.holders.values() if held.key == turn.key}
        here |= {want.tag for want in self.wants if want.key == turn.key}
        return any(want.key != turn.key and (not want.tag or want.tag not in here) for want in self.wants)

    def _turn(self) -> Turn | None:
        """The turn under way; after a loss of memory the one that the holders work in."""
        if self.turn is None:
            for held in self.holders.values():
                if held.key:
                    until = self.now + TURN_GRACE_S
                    self.turn = Turn(held.key, self.now, until, self.now, ready=True)
                    break
        return self.turn

    def _alive(self, turn: Turn) -> bool:
        return (
            self.now < turn.until
            or any(held.key == turn.key for held in self.holders.values())
            or any(want.key == turn.key for want in self.wants)
        )

    def _first_in_line(self, key: str) -> bool:
        """Nobody has waited longer for a turn of another key."""
        current = self.turn.key if self.turn else ""
        since = min((want.since for want in self.wants if want.key == key), default=self.now)
        return all(want.key in (key, current) or want.since >= since for want in self.wants)

    # Leaving -------------------------------------------------------------------------------------

    def to_leave(self, capacity: int, turn_s: float) -> set[str]:
        """Holders that should end after their current call. All who ask get the same answer."""
        batch = sorted(name for name, held in self.holders.items() if not held.interactive)
        if self.held_for:
            return set(batch)
        if self.on_probation:
            return {name for name in batch if name != self.health.probe}
        demand = len(self.waiters) + len(self.holders) - capacity
        leaving = set(batch[: max(0, demand)])
        if (turn := self.turn) and turn_s and self.turn_over(turn_s):
            leaving |= {name for name in batch if self.holders[name].key == turn.key}
        return leaving


@dataclass(frozen=True, slots=True)
class Door:
    """An endpoint as the rules see it. `turns`: it works for one key at a time."""

    scope: UUID
    capacity: int
    weight: float = 1.0
    turns: bool = False


def pick(gates: dict[UUID, Gate], doors: list[Door], key: str, tag: str, turn_s: float) -> Door | None:
    """The least busy door, by its weight, that lets one more batch call through; None where none does."""

    def lets_in(door: Door) -> bool:
        gate = gates[door.scope]
        return (
            gate.free(door.capacity) > 0
            and gate.open_for_one
            and (not door.turns or gate.lanes_for(key, tag, turn_s) > 0)
        )

    return least_busy(gates, [door for door in doors if lets_in(door)])


def least_busy(gates: dict[UUID, Gate], doors: list[Door]) -> Door | None:
    return min(doors, key=lambda door: (len(gates[door.scope].holders) + 1) / door.weight, default=None)
