"""Reading the chain from its first link to its last, and all events against it, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Max, Min

from evalsuite.audit.models import AuditEvent, AuditSeal, PendingEvent
from evalsuite.audit.sealing import ENTRY_BYTES, ID_BYTES, digest_of, entry_of, rows_of

SEALS_AT_ONCE = 20
EVENTS_AT_ONCE = 5_000


class Broken(Exception):
    """The first place where the log is not what was sealed."""


@dataclass(frozen=True, slots=True)
class Report:
    """What holds. `head` is `NUMBER:DIGEST` of the last link, or empty."""

    events: int
    seals: int
    head: str
    pending: int
    oldest_pending: datetime | None


def verify(expected: str = "") -> Report:
    """Check everything. Raises Broken at the first place that does not hold.

    `expected`: a head that was printed earlier and must be in the chain still. Locks nothing.
    """
    events = seals = 0
    previous = head = ""
    found = not expected
    for some in _pages_of_seals():
        for seal in some:
            _check_link(seal, seals + 1, previous)
            seals, previous, head = seals + 1, seal.digest, str(seal)
            found = found or head == expected
            events += seal.count
        _check_events(some)
    if not found:
        raise Broken(f"the chain does not hold the link {expected}")
    _check_pending()
    _check_outsiders()
    pending = PendingEvent.objects.all()
    oldest = AuditEvent.objects.filter(pk__in=pending.order_by("pk").values("pk")[:1])
    return Report(events, seals, head, pending.count(), oldest.aggregate(at=Min("created_at"))["at"])


def _pages_of_seals() -> Iterator[list[AuditSeal]]:
    last = AuditSeal.objects.aggregate(last=Max("number"))["last"] or 0  # what comes meanwhile is not ours
    number = 0
    while some := list(AuditSeal.objects.filter(number__gt=number, number__lte=last)[:SEALS_AT_ONCE]):
        yield some
        number = some[-1].number


def _check_link(seal: AuditSeal, number: int, previous: str) -> None:
    if seal.number != number:
        raise Broken(f"seal {number} is missing")
    if seal.previous != previous:
        raise Broken(f"seal {number} does not follow from the seal before it")
    ids = _ids(bytes(seal.entries)) if seal.digest == digest_of(seal) else []
    if len(ids) != seal.count or (min(ids), max(ids)) != (seal.first_event, seal.last_event):
        raise Broken(f"seal {number} was changed")


def _check_events(seals: Sequence[AuditSeal]) -> None:
    """Some seals at a time: where little happens they hold one event each."""
    some: list[AuditSeal] = []
    for seal in seals:
        some.append(seal)
        if sum(one.count for one in some) >= EVENTS_AT_ONCE:
            _compare(some)
            some = []
    _compare(some)


def _compare(seals: Sequence[AuditSeal]) -> None:
    sealed = {pk: seal.number for seal in seals for pk in _ids(bytes(seal.entries))}
    there = {row[0]: entry_of(row) for row in rows_of(sealed)}
    for seal in seals:
        entries = bytes(seal.entries)
        for start, pk in zip(range(0, len(entries), ENTRY_BYTES), _ids(entries), strict=True):
            if pk not in there:
                raise Broken(f"event {pk} of seal {seal.number} is missing")
            if there[pk] != entries[start : start + ENTRY_BYTES]:
                raise Broken(f"event {pk} of seal {seal.number} was changed")


def _check_pending() -> None:
    """Each event that is said to wait for its seal must be there."""
    last: UUID | None = None
    while True:
        rows = PendingEvent.objects.order_by("event_id")
        rows = rows.filter(event_id__gt=last) if last else rows
        ids = list(rows.values_list("event_id", flat=True)[:EVENTS_AT_ONCE])
        if not ids:
            return
        there = set(AuditEvent.objects.filter(pk__in=ids).order_by().values_list("pk", flat=True))
        if gone := [pk for pk in ids if pk not in there]:
            raise Broken(f"event {gone[0]}, which was not sealed yet, is missing")
        last = ids[-1]


def _check_outsiders() -> None:
    """Each event must be sealed or wait for it: one that does neither was not written by the product.

    The order of the three reads matters: an event goes from waiting to sealed, never back.
    """
    last: UUID | None = None
    while True:
        rows = AuditEvent.objects.order_by("pk")
        rows = rows.filter(pk__gt=last) if last else rows
        ids = list(rows.values_list("pk", flat=True)[:EVENTS_AT_ONCE])
        if not ids:
            return
        low, last = ids[0], ids[-1]
        left = set(ids)
        left.difference_update(
            PendingEvent.objects.filter(event_id__range=(low, last)).values_list("event_id", flat=True)
        )
        seals = AuditSeal.objects.filter(first_event__lte=last, last_event__gte=low)
        for entries in seals.values_list("entries", flat=True).iterator(SEALS_AT_ONCE):
            left.difference_update(_ids(bytes(entries)))
        if left:
            raise Broken(f"event {min(left)} is in no seal and does not wait for one")


def _ids(entries: bytes) -> list[UUID]:
    return [UUID(bytes=entries[start : start + ID_BYTES]) for start in range(0, len(entries), ENTRY_BYTES)]
