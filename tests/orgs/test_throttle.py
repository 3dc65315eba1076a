"""How many passwords may be guessed, and that a burst guesses no more."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from evalsuite import throttle
from evalsuite.errors import RateLimited
from tests import factories

TOKEN = "/api/v1/auth/token"
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")


@pytest.fixture(params=["memory", "redis"])
def counter(request, settings, monkeypatch):
    """Each way of counting; on Redis under names of this test's own."""
    if request.param == "redis":
        try:
            redis.Redis.from_url(REDIS_URL).ping()
        except redis.RedisError:
            pytest.skip(f"no Redis at {REDIS_URL}")
        settings.REDIS_URL = REDIS_URL
        throttle._shared.cache_clear()
        prefix = uuid.uuid4().hex
        storage = throttle._shared(REDIS_URL).storage
        monkeypatch.setattr(storage, "key_prefix", prefix)
        yield request.param
        storage.reset()
        throttle._shared.cache_clear()
    else:
        yield request.param


def allowed(attempts, username="alice", address="10.0.0.1"):
    """How many of so many failures are looked at."""
    count = 0
    for _ in range(attempts):
        try:
            throttle.LoginAttempt(username, address)
        except RateLimited:
            continue
        count += 1
    return count


def test_ten_failures_of_an_account_and_no_more_wherever_they_come_from(counter):
    assert sum(allowed(1, address=f"10.0.0.{n}") for n in range(15)) == 10
    assert allowed(1, username="ALICE", address="10.0.1.1") == 0
    assert allowed(1, username="bob", address="10.0.1.1") == 1


def test_ten_failures_of_an_address_and_no_more(counter):
    assert sum(allowed(1, username=f"user {n}") for n in range(20)) == 10
    assert allowed(1, username="user 21", address="10.0.0.2") == 1


def test_the_addresses_of_one_network_of_version_6_count_as_one(counter):
    addresses = [f"2001:db8:0:1::{n:x}" for n in range(20)]
    assert sum(allowed(1, username=address, address=address) for address in addresses) == 10
    assert allowed(1, username="other", address="2001:db8:0:2::1") == 1


def test_what_is_refused_for_its_account_is_not_held_against_the_address(counter):
    assert allowed(10, address="10.0.0.2") == 10
    assert allowed(100) == 0
    assert sum(allowed(1, username=f"user {n}") for n in range(20)) == 10


def test_success_forgets_the_failures_of_the_account(counter):
    allowed(9, address="10.0.0.2")
    throttle.LoginAttempt("alice", "10.0.0.1").succeeded()
    assert allowed(15) == 10


def test_success_takes_back_itself_alone_at_the_address(counter):
    allowed(4)
    for _ in range(30):
        throttle.LoginAttempt("bob", "10.0.0.1").succeeded()
    assert sum(allowed(1, username=f"user {n}") for n in range(20)) == 6


def test_a_burst_is_counted_exactly(counter):
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: allowed(1), range(64))) == 10


def test_the_error_tells_when_to_come_back(counter):
    allowed(10)
    with pytest.raises(RateLimited) as refused:
        throttle.LoginAttempt("alice", "10.0.0.1")
    assert 890 < refused.value.retry_after <= 900


def test_without_redis_this_process_counts_alone(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert allowed(12) == 10


def test_the_api_refuses_even_the_right_password_with_429(anybody, alice):
    for _ in range(10):
        anybody.post(TOKEN, {"username": "alice", "password": "wrong"}, format="json")
    response = anybody.post(TOKEN, {"username": "alice", "password": factories.PASSWORD}, format="json")
    assert (response.status_code, response.json()["error"]) == (429, "RATE_LIMITED")
    assert 0 < int(response["Retry-After"]) <= 900


def test_the_page_and_the_api_count_together(anybody, client, alice):
    for _ in range(5):
        anybody.post(TOKEN, {"username": "alice", "password": "wrong"}, format="json")
        client.post("/login", {"username": "alice", "password": "wrong"})
    assert client.post("/login", {"username": "alice", "password": "wrong"}).status_code == 429
