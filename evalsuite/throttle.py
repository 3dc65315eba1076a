"""Guessing is bounded: wrong passwords are counted for each account and for each address, and wrong links of
invitations for each address.

An account is counted wherever the guesses come from, since addresses are cheap. Whoever guesses can
thereby keep its owner from signing in for a quarter of an hour; sessions and tokens go on.

Counted in Redis where there is one, so that all web processes count together, else in this process.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import redis
from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from evalsuite.errors import RateLimited

log = logging.getLogger(__name__)

WINDOW_MINUTES = 15
BY_NAME = RateLimitItemPerMinute(10, WINDOW_MINUTES, namespace="login-name")
BY_ADDRESS = RateLimitItemPerMinute(10, WINDOW_MINUTES, namespace="login-address")
BY_LINK = RateLimitItemPerMinute(20, WINDOW_MINUTES, namespace="invitation-address")
T = TypeVar("T")
_MAKING = threading.Lock()  # `cache` may call twice at once, and two counters each let a burst through
_HERE = threading.RLock()  # around all counting of this process


class LoginAttempt:
    """One look at a password. Counts as a failure from the start, so that no burst slips through.

    Raises RateLimited before the password is looked at; `succeeded` takes the count back.
    """

    def __init__(self, username: str, address: str | None) -> None:
        self.address = _network_of(address) if address else "unknown"
        # A digest: names of any length and alphabet make keys alike, and no key tells a name.
        self.name = hashlib.sha256(username.casefold().encode()).hexdigest()
        _take(BY_ADDRESS, self.address)
        try:
            _take(BY_NAME, self.name)
        except RateLimited:
            # Refused without a look, so it is no failure: others at the address are not to suffer.
            _counted(lambda counter: _give_back(counter, BY_ADDRESS, self.address))
            raise

    def succeeded(self) -> None:
        """The password was right: forget the failures of this name, and the count of this attempt."""
        _counted(lambda counter: counter.clear(BY_NAME, self.name))
        _counted(lambda counter: _give_back(counter, BY_ADDRESS, self.address))


class LinkAttempt:
    """One look at the link of an invitation, counted like a `LoginAttempt`; raises RateLimited too."""

    def __init__(self, address: str | None) -> None:
        self.address = _network_of(address) if address else "unknown"
        _take(BY_LINK, self.address)

    def succeeded(self) -> None:
        """The link was good: take the count back."""
        _counted(lambda counter: _give_back(counter, BY_LINK, self.address))


def _take(limit: RateLimitItemPerMinute, identity: str) -> None:
    if not _counted(lambda counter: counter.hit(limit, identity)):
        free_at = _counted(lambda counter: counter.get_window_stats(limit, identity).reset_time)
        wait = max(1.0, free_at - time.time())
        raise RateLimited(
            f"Too many failed attempts. Try again in {_in_words(wait)}.",
            retry_after=wait,
            minutes=WINDOW_MINUTES,
        )


def _network_of(address: str) -> str:
    """Whoever has one address of version 6 has 2 ** 64 of them: they count as one."""
    parsed = ipaddress.ip_address(address)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def _in_words(seconds: float) -> str:
    minutes = -(-int(seconds) // 60)
    return f"{minutes} minutes" if minutes > 1 else "a minute"


def _counted(use: Callable[[MovingWindowRateLimiter], T]) -> T:
    """Ask Redis; while it is away this process counts alone, which is better than not at all."""
    with _MAKING:
        shared, local = _shared(settings.REDIS_URL) if settings.REDIS_URL else None, _local()
    if shared:
        try:
            return use(shared)
        except redis.RedisError:
            log.warning("Redis does not answer: failed logins are counted in this process alone")
    with _HERE:
        return use(local)


class _OneLock(dict[str, Any]):
    """The same lock for every key: the storage's own come and go with their keys, and miss a burst."""

    def __missing__(self, key: str) -> Any:
        return _HERE


@cache
def _local() -> MovingWindowRateLimiter:
    storage: Any = MemoryStorage()
    storage.locks = _OneLock()
    return MovingWindowRateLimiter(storage)


@cache
def _shared(url: str) -> MovingWindowRateLimiter:
    options: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2}
    return MovingWindowRateLimiter(RedisStorage(url, key_prefix="evalsuite-throttle", **options))


def _give_back(counter: MovingWindowRateLimiter, limit: RateLimitItemPerMinute, identity: str) -> None:
    """Drop the newest entry. `limits` cannot do this, and its entries are alike but for their times."""
    key = limit.key_for(identity)
    storage: Any = counter.storage
    if isinstance(storage, RedisStorage):
        connection: Any = storage.get_connection()
        connection.lpop(storage.prefixed_key(key))
        return
    with storage.locks[key]:
        if storage.events.get(key):
            del storage.events[key][0]
