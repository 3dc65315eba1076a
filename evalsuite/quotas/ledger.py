"""The statements on the ledger's rows. Each is one statement for any number of calls.

SQL by hand: this is on the path of every call, and Django can neither tell which rows of an insert
were new nor settle rows and insert the missing ones at once. Rows are touched in the order of their
attempts, and before any counter: one order for all writers, so that they cannot deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.db import connection

from evalsuite.clock import in_seconds
from evalsuite.ids import new_id
from evalsuite.quotas.models import UsageRecord
from evalsuite.quotas.values import LARGEST, Call, Moment, Used

TABLE = UsageRecord._meta.db_table
SETTLED, RELEASED = "settled", "released"  # the second is seen by no other transaction
NEW_ROWS = """
    INSERT INTO {table} (id, attempt, kind, model_provider, model_name, user_id, experiment_id, state,
        reserved_tokens, input_tokens, output_tokens, org_id, created_at, day)
    SELECT {columns}, %s, {now}, {today} FROM {rows} ORDER BY 2
"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor reads rows from a JSON text, and what its clock says."""

    columns: str  # of NEW_ROWS, from `rows`
    rows: str  # takes the JSON text, a list of lists
    now: str  # a timestamp as Django keeps it
    today: str  # the UTC day
    epoch: str  # whole seconds since 1970
    ago: str  # a timestamp so many seconds ago
    day_text: str  # the column `day` as YYYY-MM-DD

    def insert(self, on_conflict: str) -> str:
        rows = NEW_ROWS.format(
            table=TABLE, columns=self.columns, rows=self.rows, now=self.now, today=self.today
        )
        return rows + on_conflict.format(table=TABLE, epoch=self.epoch, day=self.day_text)


DIALECTS = {
    "postgresql": Dialect(
        columns=(
            "(value->>0)::uuid, (value->>1)::uuid, value->>2, value->>3, value->>4, (value->>5)::uuid,"
            " (value->>6)::uuid, value->>7, (value->>8)::int, (value->>9)::int, (value->>10)::int"
        ),
        rows="json_array_elements(%s::json) AS value",
        now="CURRENT_TIMESTAMP",
        today="CAST(CURRENT_TIMESTAMP AT TIME ZONE 'UTC' AS date)",
        epoch="CAST(FLOOR(EXTRACT(EPOCH FROM CURRENT_TIMESTAMP)) AS bigint)",
        ago="CURRENT_TIMESTAMP - %s * INTERVAL '1 second'",
        day_text="TO_CHAR(day, 'YYYY-MM-DD')",
    ),
    "sqlite": Dialect(
        columns=", ".join(f"JSON_EXTRACT(value, '$[{n}]')" for n in range(11)),
        rows="JSON_EACH(%s) WHERE true",
        now="STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now')",
        today="DATE('now')",
        epoch="CAST(STRFTIME('%%s', 'now') AS integer)",
        ago="STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now', -%s || ' seconds')",
        day_text="CAST(day AS text)",
    ),
}
RESERVE = {
    vendor: dialect.insert("ON CONFLICT (attempt) DO NOTHING RETURNING attempt, {epoch}")
    for vendor, dialect in DIALECTS.items()
}
SETTLE = {
    vendor: dialect.insert(
        "ON CONFLICT (attempt) DO UPDATE SET state = excluded.state,"
        " input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens"
        " WHERE {table}.state = 'reserved' AND {table}.org_id = excluded.org_id"
        " RETURNING {day} AS day, state, reserved_tokens AS held, input_tokens, output_tokens,"
        " model_provider, model_name, user_id, experiment_id"
    )
    for vendor, dialect in DIALECTS.items()
}


@dataclass(frozen=True, slots=True)
class Moved:
    """A row that was settled or released just now, and what it means for the counters of its org."""

    org_id: UUID
    day: str  # YYYY-MM-DD
    settled: bool  # else released
    was_reserved: bool
    reserved_tokens: int
    tokens: int  # used


@dataclass(frozen=True, slots=True)
class Settled:
    """What a row that was settled just now adds to the sums. Ids as the database keeps them."""

    day: str  # YYYY-MM-DD
    model_provider: str
    model_name: str
    user_id: Any
    experiment_id: Any
    input_tokens: int
    output_tokens: int


def now() -> Moment:
    """The database's time."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_dialect().epoch}", [])
        return Moment(cursor.fetchone()[0])


def reserve(org_id: UUID, calls: Iterable[Call], held: Mapping[UUID, int]) -> tuple[set[UUID], Moment | None]:
    """Insert rows that hold so many tokens for these calls.

    Returns the attempts that were new, and the time (None where none was new).
    Waits for a transaction that offers the same attempt just now.
    """
    rows: list[tuple[Any, ...]] = [
        (*_facts(call), "reserved", held[call.attempt], None, None) for call in calls
    ]
    with connection.cursor() as cursor:
        cursor.execute(RESERVE[connection.vendor], [_key(org_id), json.dumps(rows)])
        inserted = cursor.fetchall()
    return {_uuid(row[0]) for row in inserted}, Moment(inserted[0][1]) if inserted else None


def settle(
    org_id: UUID, used: Iterable[Used], released: Sequence[UUID] = ()
) -> tuple[list[Moved], list[Settled]]:
    """Write what calls used into their rows, which are made where there was no reservation.

    Rows that were settled before stay as they are, and are not returned. Rows of `released` that are still
    reserved are marked, for `drop` to delete: two statements would lock rows in an order of their own.
    """
    with connection.cursor() as cursor:
        cursor.execute(SETTLE[connection.vendor], settling(org_id, used, released))
        rows = cursor.fetchall()
    moved = [
        Moved(org_id, day, state == SETTLED, held is not None, held or 0, (tin or 0) + (tout or 0))
        for day, state, held, tin, tout, *_ in rows
        if state == SETTLED or held is not None
    ]
    settled = [
        Settled(day, provider, model, user, experiment, tin or 0, tout or 0)
        for day, state, _, tin, tout, provider, model, user, experiment in rows
        if state == SETTLED
    ]
    return moved, settled


def settling(org_id: UUID, used: Iterable[Used], released: Sequence[UUID]) -> list[Any]:
    """The values that SETTLE takes."""
    rows: dict[UUID, tuple[Any, ...]] = {
        attempt: (*_facts(Call(attempt, "", "", "")), RELEASED, None, None, None) for attempt in released
    }
    for one in used:
        tokens = _count(one.input_tokens), _count(one.output_tokens)
        rows[one.call.attempt] = (*_facts(one.call), SETTLED, None, *tokens)
    return [_key(org_id), json.dumps(list(rows.values()))]


def release(attempts: Sequence[UUID]) -> list[Moved]:
    """Delete the rows of these attempts that are still reserved."""
    keys = ", ".join(["%s"] * len(attempts))
    return _deleted(f"attempt IN (SELECT attempt FROM {TABLE} WHERE attempt IN ({keys})", map(_key, attempts))


def holds_since(kind: UsageRecord.Kind, seconds: float) -> bool:
    """True where a row of this kind has been reserved for so long."""
    old = UsageRecord.objects.filter(state=UsageRecord.State.RESERVED, created_at__lt=in_seconds(-seconds))
    return old.filter(kind=kind).exists()


def release_older(kind: UsageRecord.Kind, seconds: float) -> list[Moved]:
    """Delete the rows of this kind that have been reserved for so long."""
    chosen = f"attempt IN (SELECT attempt FROM {TABLE} WHERE kind = %s AND created_at < {_dialect().ago}"
    return _deleted(chosen, (kind, seconds))


def _deleted(chosen: str, values: Iterable[Any]) -> list[Moved]:
    # The rows are locked in order before they are deleted; SQLite has one writer, and needs no locks.
    lock = " FOR UPDATE" if connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {TABLE} WHERE {chosen} AND state = 'reserved' ORDER BY attempt{lock})"
            f" AND state = 'reserved' RETURNING org_id, {_dialect().day_text}, reserved_tokens",
            list(values),
        )
        return [
            Moved(_uuid(owner), day, False, reserved is not None, reserved or 0, 0)
            for owner, day, reserved in cursor.fetchall()
        ]


def drop(attempts: Iterable[UUID], *, marked: bool = False) -> None:
    """Delete rows that this transaction has inserted itself, or `marked` as released."""
    keys = [_key(attempt) for attempt in attempts]
    places = ", ".join(["%s"] * len(keys))
    state = RELEASED if marked else UsageRecord.State.RESERVED.value
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE} WHERE attempt IN ({places}) AND state = %s", [*keys, state])


def put_on_day(attempts: Iterable[UUID], day: date) -> None:
    """Write down that the counters of another day hold these rows, inserted by this transaction."""
    UsageRecord.objects.filter(attempt__in=list(attempts)).update(day=day)


def _dialect() -> Dialect:
    return DIALECTS[connection.vendor]


def _facts(call: Call) -> tuple[str | None, ...]:
    """The first columns of NEW_ROWS. Plain hex: both vendors take it."""
    return (
        new_id().hex,
        call.attempt.hex,
        call.kind,
        call.provider,
        call.model,
        call.user_id.hex if call.user_id else None,
        call.experiment_id.hex if call.experiment_id else None,
    )


def _count(tokens: int | None) -> int | None:
    """A count as the ledger can hold it: what a provider tells is not to be trusted."""
    return None if tokens is None else max(0, min(tokens, LARGEST))


def _key(value: UUID | None) -> Any:
    """An id as the database keeps it."""
    return value if value is None or connection.features.has_native_uuid_field else value.hex


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def grouped_by_org(moved: Iterable[Moved]) -> Iterator[tuple[UUID, list[Moved]]]:
    """The rows of each org, the orgs in one order for all writers."""
    by_org: dict[UUID, list[Moved]] = {}
    for row in moved:
        by_org.setdefault(row.org_id, []).append(row)
    for org_id in sorted(by_org):
        yield org_id, by_org[org_id]
