"""Slots and caps: as many as there are, and back again, in the database and in Redis."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.db import InterfaceError, OperationalError, connections

from evalsuite.ids import new_id
from llm_routing import slots
from llm_routing.errors import ProviderUnavailable
from llm_routing.gate_stores import Gates, RedisGates
from llm_routing.gates import Door, Holder
from tests.chaos.parts import until

pytestmark = pytest.mark.django_db(transaction=True)


def acquire(endpoint, capacity, want):
    return slots.take([Door(endpoint, capacity)], want)


def held(gates, scope):
    return len(gates.change([scope], lambda view: view.gates[scope].holders, fresh=True))


def test_no_more_than_the_capacity(gates):
    endpoint = new_id()
    first = acquire(endpoint, 3, 2)
    second = acquire(endpoint, 3, 5)
    assert (len(first), len(second)) == (2, 1)
    assert acquire(endpoint, 3, 1) == []
    assert held(gates, endpoint) == 3
    slots.release(first)
    assert held(gates, endpoint) == 1
    assert len(acquire(endpoint, 3, 5)) == 2


def test_what_another_process_did_meanwhile_decides(gates, monkeypatch):
    """A process goes by what it read last, and still neither exceeds nor misses what is free now."""
    monkeypatch.setattr("llm_routing.gate_stores.FRESH_S", 0)
    elsewhere, endpoint = Gates(gates.store), new_id()
    acquire(endpoint, 2, 1)
    elsewhere.change([endpoint], lambda view: view.gates[endpoint].hold("theirs", Holder(2e10)), fresh=True)
    assert acquire(endpoint, 2, 2) == []  # by what was known one was free
    elsewhere.change([endpoint], lambda view: view.gates[endpoint].let_go("theirs"), fresh=True)
    assert len(acquire(endpoint, 2, 2)) == 1  # by what was known none was
    assert held(gates, endpoint) == 2


def test_a_change_by_what_is_known_reads_nothing(gates, monkeypatch):
    endpoint = new_id()
    acquire(endpoint, 3, 1)
    monkeypatch.setattr("llm_routing.gate_stores.FRESH_S", 0)
    monkeypatch.setattr(gates.store, "load", lambda scopes: pytest.fail("it was read"))
    assert len(acquire(endpoint, 3, 1)) == 1


def test_giving_back_twice_takes_no_one_else_s(gates):
    endpoint = new_id()
    mine = acquire(endpoint, 1, 1)
    slots.release(mine)
    theirs = acquire(endpoint, 1, 1)
    slots.release(mine)
    assert held(gates, endpoint) == 1
    slots.release(theirs)


def test_a_smaller_capacity_holds_at_once_and_calls_lanes_back(gates):
    endpoint = new_id()
    mine = acquire(endpoint, 4, 2)
    assert acquire(endpoint, 2, 4) == []
    assert slots.to_leave(mine, 60) == 0
    smaller = [slots.Slot(endpoint, 1, slot.holder) for slot in mine]
    assert slots.to_leave(smaller, 60) == 1


def test_a_cap_holds_over_several_endpoints(gates):
    one, other, batch = new_id(), new_id(), new_id()
    caps = [(batch, 3)]
    taken = slots.take([Door(one, 2), Door(other, 8)], 10, caps=caps)
    assert len(taken) == 3
    assert held(gates, batch) == 3
    assert slots.take([Door(one, 2)], 1, caps=caps) == []
    slots.release(taken[:1])
    assert len(slots.take([Door(other, 8)], 5, caps=caps)) == 1


def test_a_full_endpoint_takes_nothing_from_a_cap(gates):
    endpoint, batch = new_id(), new_id()
    acquire(endpoint, 1, 1)
    assert slots.take([Door(endpoint, 1)], 2, caps=[(batch, 5)]) == []
    assert held(gates, batch) == 0


def test_weights_share_the_calls_out(gates):
    light, heavy = new_id(), new_id()
    taken = slots.take([Door(light, 50, 1), Door(heavy, 50, 3)], 20)
    by_door = [slot.endpoint for slot in taken]
    assert (by_door.count(light), by_door.count(heavy)) == (5, 15)


def test_many_at_once_get_exactly_what_there_is(gates):
    endpoint, cap = new_id(), new_id()

    def take(_):
        try:
            return len(slots.take([Door(endpoint, 5)], 1, caps=[(cap, 4)]))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(64))) == 4


def test_a_holder_that_fell_silent_gives_its_slot_back(gates, monkeypatch):
    endpoint = new_id()
    monkeypatch.setattr(slots, "LEASE_S", 0.2)
    monkeypatch.setattr(slots.keeper, "add", lambda slots: None)  # dead: nobody renews
    acquire(endpoint, 1, 1)
    deadline = time.monotonic() + 5
    while not acquire(endpoint, 1, 1):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_holder_that_lives_keeps_its_slot(gates, monkeypatch):
    endpoint = new_id()
    monkeypatch.setattr(slots, "LEASE_S", 0.6)
    mine = acquire(endpoint, 1, 1)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert acquire(endpoint, 1, 1) == []
        time.sleep(0.05)
    slots.release(mine)
    assert len(acquire(endpoint, 1, 1)) == 1


class Away:
    """A store that does not answer."""

    def __init__(self, error):
        self.error = error
        self.asked = 0

    def load(self, scopes):
        self.asked += 1
        raise self.error

    swap = load


TROUBLE = [OperationalError("away"), InterfaceError("closed"), redis.ConnectionError("away")]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
def test_giving_back_harms_nobody_while_the_store_is_away(gates, monkeypatch, error):
    mine = acquire(new_id(), 2, 2)
    monkeypatch.setattr(gates, "store", Away(error))
    slots.release(mine)
    assert slots.keeper.held == []  # so that the lease ends


@pytest.mark.parametrize("error", [*TROUBLE, RuntimeError("a bug")], ids=lambda error: type(error).__name__)
def test_leases_are_renewed_again_after_any_trouble(gates, monkeypatch, error):
    monkeypatch.setattr(slots, "RENEW_S", 0.02)
    endpoint, store, away = new_id(), gates.store, Away(error)
    acquire(endpoint, 1, 1)
    gates.store = away
    until(lambda: away.asked > 1, "the keeper goes on")
    gates.store = store
    gates.change([endpoint], lambda view: view.gates[endpoint].holders.clear(), fresh=True)
    until(lambda: held(gates, endpoint) == 1, "the holder is written in again")


def test_a_silent_redis_is_said_in_words(monkeypatch):
    nowhere = Gates(RedisGates("redis://127.0.0.1:1/0"))
    monkeypatch.setattr(slots, "store", lambda: nowhere)
    endpoint = new_id()
    with pytest.raises(ProviderUnavailable):
        acquire(endpoint, 1, 1)
    assert slots.to_leave([slots.Slot(endpoint, 1, new_id())], 60) == 0
