"""Slots of an endpoint: as many as there are, and back again, in the database and in Redis."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.db import connections

from evalsuite.clock import in_seconds
from llm_routing import slots
from llm_routing.models import Endpoint, SlotLease
from llm_routing.slots import DatabaseSlots, RedisSlots
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["database", "redis"])
def store(request):
    if request.param == "database":
        return DatabaseSlots()
    url = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
    try:
        redis.Redis.from_url(url).ping()
    except redis.RedisError:
        pytest.skip(f"no Redis at {url}")
    return RedisSlots(url)


@pytest.fixture
def endpoint(db):
    factories.make_model()
    return Endpoint.objects.get().pk


def test_no_more_than_the_capacity(store, endpoint):
    first = store.acquire(endpoint, 3, 2)
    second = store.acquire(endpoint, 3, 5)
    assert (len(first), len(second)) == (2, 1)
    assert store.acquire(endpoint, 3, 1) == []
    assert store.busy(endpoint) == 3
    store.release(first)
    assert store.busy(endpoint) == 1
    assert len(store.acquire(endpoint, 3, 5)) == 2


def test_giving_back_twice_takes_no_one_else_s(store, endpoint):
    mine = store.acquire(endpoint, 1, 1)
    store.release(mine)
    theirs = store.acquire(endpoint, 1, 1)
    store.release(mine)
    assert store.busy(endpoint) == 1
    store.release(theirs)


def test_a_smaller_capacity_holds_at_once(store, endpoint):
    store.acquire(endpoint, 4, 2)
    assert store.acquire(endpoint, 2, 4) == []


def test_many_at_once_get_exactly_what_there_is(store, endpoint):
    def take(_):
        try:
            return len(store.acquire(endpoint, 5, 1))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(64))) == 5


def test_a_holder_that_fell_silent_gives_its_slot_back(endpoint):
    store = DatabaseSlots()
    store.acquire(endpoint, 1, 1)
    SlotLease.objects.update(expires_at=in_seconds(-1))
    assert len(store.acquire(endpoint, 1, 1)) == 1


def test_a_silent_redis_is_said_in_words(endpoint, settings, monkeypatch):
    monkeypatch.setattr(slots, "store", lambda: RedisSlots("redis://127.0.0.1:1/0"))
    from llm_routing.errors import ProviderUnavailable

    with pytest.raises(ProviderUnavailable):
        slots.acquire(endpoint, 1, 1)
