"""Limits and accounting for the use of models: reserve before a call, settle or release after it.

Call each inside the transaction that claims the calls or records their results, and as its last step:
an org's counter is one row, and stays locked until that transaction ends. Each is a few statements
for any number of calls. An org without limits on calls reserves nothing, which costs nothing; its ledger is
written when the calls are settled.

What always holds, for the committed rows of an org: its counters' `calls` and `tokens` are the number and the
tokens of its settled ledger rows, `reserved_calls` and `reserved_tokens` those of its reserved ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from django.db import transaction

from evalsuite.errors import RateLimited
from evalsuite.metrics.changes import Changes
from evalsuite.metrics.families import QUOTA_REFUSALS
from evalsuite.orgs.models import Org
from evalsuite.quotas import counters, ledger
from evalsuite.quotas.limits import Limits, limits_of
from evalsuite.quotas.models import UsageRecord
from evalsuite.quotas.values import LARGEST, Call, Granted, Moment, Refusal, Used, estimated_tokens

__all__ = [
    "Call",
    "Granted",
    "Limits",
    "Refusal",
    "Used",
    "drop_stale",
    "estimated_tokens",
    "granting",
    "limits_of",
    "release",
    "reserve",
    "settle",
    "take_playground",
]


def reserve(org: Org, calls: Sequence[Call], *, limits: Limits | None = None) -> Granted:
    """Grant the first calls that fit the org's limits, in order, and hold their estimated tokens.

    An attempt that was granted before is granted again, and is counted once. An estimate above a whole
    limit counts as that limit, so that such a call waits for an unused day and not for ever.
    """
    if limits is None:
        limits = limits_of(org)
    if not calls or not limits.bound_calls:
        return Granted(len(calls))
    with transaction.atomic(savepoint=False):
        held = {call.attempt: _held(call, limits) for call in calls}
        new, moment = ledger.reserve(org.pk, calls, held)
        if moment is None:
            return Granted(len(calls))
        asked = [call.attempt for call in calls if call.attempt in new]
        if _take(org.pk, limits, moment, asked, held):
            return Granted(len(calls))
        # Not all fit, or this is the org's first call of the month: look, with the counter locked.
        used = counters.locked(org.pk, moment)
        count, refusal = counters.fitting(limits, used, moment, [held[attempt] for attempt in asked])
        if count < len(asked):
            ledger.drop(asked[count:])
        if count and not _take(org.pk, limits, moment, asked[:count], held):
            raise AssertionError("a locked counter changed")
        if refusal is None:
            return Granted(len(calls))
        _count(org, refusal.limit)
        first_refused = next(n for n, call in enumerate(calls) if call.attempt == asked[count])
        return Granted(first_refused, refusal)


def _take(
    org_id: UUID, limits: Limits, moment: Moment, attempts: Sequence[UUID], held: dict[UUID, int]
) -> bool:
    tokens = sum(held[attempt] for attempt in attempts)
    day = counters.take(org_id, limits, moment, len(attempts), tokens)
    if day is not None and day != moment.day:
        ledger.put_on_day(attempts, day)
    return day is not None


def _held(call: Call, limits: Limits) -> int:
    bounds = [bound for bound in (limits.tokens_per_day, limits.tokens_per_month) if bound is not None]
    return max(1, min([call.tokens, LARGEST, *bounds]))  # a limit of 0 grants nothing


def settle(org: Org, used: Sequence[Used], *, released: Sequence[UUID] = ()) -> None:
    """Write what calls used into the ledger, and move the org's counters by the difference.

    A call settled before is left as it is. `released` are attempts whose reservations go away in the same
    step, as `release` does it.
    """
    if not used and not released:
        return
    with transaction.atomic(savepoint=False):
        counters.settle(org.pk, used, released)


def release(attempts: Sequence[UUID]) -> None:
    """Take back the reservations of calls that came to nothing.

    Settled and unknown attempts stay as they are. The requests of the minute
    stay counted: the calls were made.
    """
    if not attempts:
        return
    with transaction.atomic(savepoint=False):
        counters.move(ledger.release(attempts))


def drop_stale(older_than_s: float, *, kind: UsageRecord.Kind = UsageRecord.Kind.PLAYGROUND) -> int:
    """Take back reservations whose process died. Returns how many there were.

    A call that is settled after all is counted all the same.
    """
    if not ledger.holds_since(kind, older_than_s):  # SQLite has one writer: do not become it for nothing
        return 0
    with transaction.atomic(savepoint=False):
        moved = ledger.release_older(kind, older_than_s)
        counters.move(moved)
    return len(moved)


def take_playground(org: Org, user_id: UUID, *, limits: Limits) -> Refusal | None:
    """Count one playground request of this user in this minute, or say which limit it ran into."""
    if limits.playground_per_minute is None:
        return None
    refusal = counters.take_playground(org.pk, user_id, limits.playground_per_minute, ledger.now())
    if refusal:
        _count(org, refusal.limit)
    return refusal


@contextmanager
def granting(org: Org) -> Iterator[None]:
    """A transaction in which a refusal may be raised: it undoes all else, and is counted all the same."""
    try:
        with transaction.atomic():
            yield
    except RateLimited as error:
        _count(org, error.details["name"])
        raise


def _count(org: Org, limit: str) -> None:
    changes = Changes()
    changes.count(QUOTA_REFUSALS, org.pk, limit)
    changes.save()
