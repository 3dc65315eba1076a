"""The statements on an org's counters: take what a limit leaves, and move what calls have used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.db import connection

from evalsuite.quotas import ledger, sums
from evalsuite.quotas.ledger import Moved, grouped_by_org
from evalsuite.quotas.limits import Limits
from evalsuite.quotas.models import PlaygroundMinute, UsageCounter
from evalsuite.quotas.values import Moment, Refusal, Used

TABLE = UsageCounter._meta.db_table
INTO = (
    f"INSERT INTO {TABLE} (org_id, month, calls, tokens, reserved_calls, reserved_tokens,"
    " day, day_tokens, day_reserved_tokens, minute, minute_requests)"
)
# What was reserved is taken away. Where there is no row yet there was no reservation, and these are zero.
MOVE = f"""ON CONFLICT (org_id, month) DO UPDATE SET
    calls = {TABLE}.calls + excluded.calls,
    tokens = {TABLE}.tokens + excluded.tokens,
    reserved_calls = {TABLE}.reserved_calls - excluded.reserved_calls,
    reserved_tokens = {TABLE}.reserved_tokens - excluded.reserved_tokens,
    day_tokens = CASE WHEN {TABLE}.day < excluded.day THEN excluded.day_tokens
        WHEN {TABLE}.day = excluded.day THEN {TABLE}.day_tokens + excluded.day_tokens
        ELSE {TABLE}.day_tokens END,
    day_reserved_tokens = CASE WHEN {TABLE}.day < excluded.day THEN 0
        WHEN {TABLE}.day = excluded.day THEN {TABLE}.day_reserved_tokens - excluded.day_reserved_tokens
        ELSE {TABLE}.day_reserved_tokens END,
    day = CASE WHEN {TABLE}.day < excluded.day THEN excluded.day ELSE {TABLE}.day END"""
# `_move` in the words of PostgreSQL, behind the statement that settles. The sums, which nothing here reads,
# are written after the counters: who waits for a sum holds no counter that others wait for.
SETTLE_AND_MOVE = f"""
    WITH settled AS ({ledger.SETTLE["postgresql"]}),
    summed AS ({sums.ADD_USAGE}),
    of_experiments AS ({sums.ADD_EXPERIMENTS}),
    moved AS (
        SELECT CAST(day AS date) AS day, state, held,
            COALESCE(input_tokens, 0)::bigint + COALESCE(output_tokens, 0) AS tokens,
            CAST(DATE_TRUNC('month', CAST(day AS date)) AS date) AS month,
            MAX(CAST(day AS date)) OVER (PARTITION BY SUBSTRING(day FOR 7)) AS last
        FROM settled WHERE state = 'settled' OR held IS NOT NULL
    )
    {INTO}
    SELECT %s, month, COUNT(*) FILTER (WHERE state = 'settled'), SUM(tokens),
        COUNT(held), COALESCE(SUM(held), 0), last, COALESCE(SUM(tokens) FILTER (WHERE day = last), 0),
        COALESCE(SUM(held) FILTER (WHERE day = last), 0), 0, 0
    FROM moved GROUP BY month, last ORDER BY month
    {MOVE}"""
PLAYGROUND = PlaygroundMinute._meta.db_table
# A clock that was behind when the transaction began counts towards the later minute that others saw.
TAKE_PLAYGROUND = f"""
    INSERT INTO {PLAYGROUND} (org_id, user_id, minute, requests) VALUES (%s, %s, %s, 1)
    ON CONFLICT (org_id, user_id) DO UPDATE SET
        requests = CASE WHEN {PLAYGROUND}.minute < excluded.minute THEN 1 ELSE {PLAYGROUND}.requests + 1 END,
        minute = CASE WHEN {PLAYGROUND}.minute < excluded.minute THEN excluded.minute
            ELSE {PLAYGROUND}.minute END
    WHERE {PLAYGROUND}.minute < excluded.minute OR {PLAYGROUND}.requests < %s
    RETURNING requests"""
SOON_S = 2.0  # calls in the air will give back what they hold and do not use


@dataclass(slots=True)
class Windows:
    """What is used of each limit at a moment."""

    requests: int = 0
    day_tokens: int = 0
    day_reserved: int = 0
    month_tokens: int = 0
    month_reserved: int = 0


def take(org_id: UUID, limits: Limits, moment: Moment, requests: int, tokens: int) -> date | None:
    """Count so many calls and hold so many tokens, if every limit leaves room for all of them.

    Returns the day whose counters hold them: today, or a later one that others saw begin while this
    transaction, which began before midnight, was waiting. None: not all fit, or no row is there yet.
    """
    today, minute = moment.day, moment.minute
    room, bounds = "", []
    if limits.requests_per_minute is not None:
        room += " AND CASE WHEN minute < %s THEN 0 ELSE minute_requests END + %s <= %s"
        bounds += [minute, requests, limits.requests_per_minute]
    if limits.tokens_per_day is not None:
        room += " AND CASE WHEN day < %s THEN 0 ELSE day_tokens + day_reserved_tokens END + %s <= %s"
        bounds += [_day(today), tokens, limits.tokens_per_day]
    if limits.tokens_per_month is not None:
        room += " AND tokens + reserved_tokens + %s <= %s"
        bounds += [tokens, limits.tokens_per_month]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} SET reserved_calls = reserved_calls + %s,"
            " reserved_tokens = reserved_tokens + %s,"
            " day_tokens = CASE WHEN day < %s THEN 0 ELSE day_tokens END,"
            " day_reserved_tokens = CASE WHEN day < %s THEN 0 ELSE day_reserved_tokens END + %s,"
            " day = CASE WHEN day < %s THEN %s ELSE day END,"
            " minute_requests = CASE WHEN minute < %s THEN 0 ELSE minute_requests END + %s,"
            " minute = CASE WHEN minute < %s THEN %s ELSE minute END"
            f" WHERE org_id = %s AND month = %s{room} RETURNING day",
            [
                *(requests, tokens, _day(today), _day(today), tokens, _day(today), _day(today)),
                *(minute, requests, minute, minute, _key(org_id), _day(moment.month), *bounds),
            ],
        )
        taken = cursor.fetchone()
    return None if taken is None else _date(taken[0])


def locked(org_id: UUID, moment: Moment) -> Windows:
    """What is used now, with the row locked until the transaction ends. Makes the row where it is missing."""
    UsageCounter.objects.bulk_create(
        [UsageCounter(org_id=org_id, month=moment.month, day=moment.day)], ignore_conflicts=True
    )
    row = UsageCounter.objects.select_for_update().get(org=org_id, month=moment.month)
    return windows(row, moment)


def windows(row: UsageCounter | None, moment: Moment) -> Windows:
    """The use that a counter tells of, as far as its windows last still."""
    if row is None:
        return Windows()
    this_day, this_minute = row.day >= moment.day, row.minute >= moment.minute
    return Windows(
        requests=row.minute_requests if this_minute else 0,
        day_tokens=row.day_tokens if this_day else 0,
        day_reserved=row.day_reserved_tokens if this_day else 0,
        month_tokens=row.tokens,
        month_reserved=row.reserved_tokens,
    )


def fitting(
    limits: Limits, used: Windows, moment: Moment, tokens: Sequence[int]
) -> tuple[int, Refusal | None]:
    """How many of the next calls fit, in order, and the limit that the first of the others ran into.

    Adds those that fit to `used`.
    """
    for count, wanted in enumerate(tokens):
        refusal = _refusal(limits, used, moment, wanted)
        if refusal:
            return count, refusal
        used.requests += 1
        used.day_reserved += wanted
        used.month_reserved += wanted
    return len(tokens), None


def _refusal(limits: Limits, used: Windows, moment: Moment, wanted: int) -> Refusal | None:
    month = limits.tokens_per_month
    if month is not None and (sum_ := used.month_tokens + used.month_reserved) + wanted > month:
        later = moment.until(moment.next_month)
        return Refusal("tokensPerMonth", month, sum_, _soon(used.month_tokens + wanted <= month, later))
    day = limits.tokens_per_day
    if day is not None and (sum_ := used.day_tokens + used.day_reserved) + wanted > day:
        later = moment.until(moment.next_day)
        return Refusal("tokensPerDay", day, sum_, _soon(used.day_tokens + wanted <= day, later))
    requests = limits.requests_per_minute
    if requests is not None and used.requests + 1 > requests:
        later = moment.until(moment.next_minute)
        return Refusal("requestsPerMinute", requests, used.requests, later)
    return None


def _soon(only_held: bool, later: float) -> float:
    """Where reservations alone are in the way, what they do not use comes back before the window ends."""
    return min(SOON_S, later) if only_held else later


def settle(org_id: UUID, used: Sequence[Used], released: Sequence[UUID]) -> None:
    """Settle and release in the ledger, and bring the counters to where it is then."""
    if connection.vendor == "postgresql":  # one round trip instead of two
        with connection.cursor() as cursor:
            values = ledger.settling(org_id, used, released)
            cursor.execute(SETTLE_AND_MOVE, [*values, *[_key(org_id)] * 3])
    else:
        moved, settled = ledger.settle(org_id, used, released)
        move(moved)
        sums.add_up(_key(org_id), settled)
    if released:
        ledger.drop(released, marked=True)


def move(moved: Iterable[Moved]) -> None:
    """Bring the counters to where the ledger is: rows that were settled (with tokens) or released."""
    for org_id, rows in grouped_by_org(moved):
        for month in sorted({row.day[:7] for row in rows}):
            _move(org_id, f"{month}-01", [row for row in rows if row.day[:7] == month])


def _move(org_id: UUID, month: str, rows: Sequence[Moved]) -> None:
    last = max(row.day for row in rows)
    of_last = [row for row in rows if row.day == last]
    with connection.cursor() as cursor:
        cursor.execute(
            f"{INTO} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 0, 0) {MOVE}",
            [
                _key(org_id),
                month,
                sum(row.settled for row in rows),
                sum(row.tokens for row in rows),
                sum(row.was_reserved for row in rows),
                sum(row.reserved_tokens for row in rows),
                last,
                sum(row.tokens for row in of_last),
                sum(row.reserved_tokens for row in of_last),
            ],
        )


def take_playground(org_id: UUID, user_id: UUID, limit: int, moment: Moment) -> Refusal | None:
    """Count one request of this user in this minute, or say why not."""
    if limit:
        with connection.cursor() as cursor:
            cursor.execute(TAKE_PLAYGROUND, [_key(org_id), _key(user_id), moment.minute, limit])
            if cursor.fetchone():
                return None
    later = moment.until(moment.next_minute)
    return Refusal("playgroundPerMinute", limit, limit, later)


def _key(value: UUID) -> Any:
    return value if connection.features.has_native_uuid_field else value.hex


def _day(value: date) -> Any:
    """A date as the database keeps it: SQLite compares texts."""
    return value if connection.vendor == "postgresql" else value.isoformat()


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)
