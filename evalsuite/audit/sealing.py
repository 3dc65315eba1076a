"""The chain: events are sealed after they were committed, link by link, so that a change or a gap shows.

No writer of events waits for another: the chain is made by one periodic job. What waits for it is in a
table that a trigger fills in the event's own transaction, so that an event which commits late is not missed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from evalsuite.audit.models import AuditEvent, AuditSeal, PendingEvent

log = logging.getLogger(__name__)

EVERY_S = 5.0
AT_ONCE = 1_000  # events of one seal
TURN_S = 2.0  # the other jobs of the sweeper must not wait
ID_BYTES, HASH_BYTES = 16, 32
ENTRY_BYTES = ID_BYTES + HASH_BYTES
START = "evalsuite audit 1"
COLUMNS = (
    "id",
    "created_at",
    "org_id",
    "actor_id",
    "actor_name",
    "event",
    "object_type",
    "object_id",
    "before",
    "after",
    "address",
    "request_id",
)


def seal_in_turn() -> int:
    """Seal what is pending, for some seconds at most. Answers the number of events."""
    deadline = time.monotonic() + TURN_S
    sealed = 0
    while count := seal_some():
        sealed += count
        if count < AT_ONCE or time.monotonic() > deadline:
            break
    if sealed:
        # Whoever keeps the logs elsewhere has the chain's head there, out of reach of the database's owner.
        log.info("audit log sealed up to %s", AuditSeal.objects.defer("entries").last())
    return sealed


def seal_some() -> int:
    """One link, unless another process makes it at the same time. Answers the number of its events."""
    ids = list(PendingEvent.objects.order_by("event_id").values_list("event_id", flat=True)[:AT_ONCE])
    if not ids:
        return 0
    entries = {row[0]: entry_of(row) for row in rows_of(ids)}
    ids = [pk for pk in ids if pk in entries]  # one that was deleted stays pending, and shows
    if not ids:
        return 0
    head = AuditSeal.objects.defer("entries").last()
    seal = AuditSeal(
        number=head.number + 1 if head else 1,
        created_at=timezone.now(),
        previous=head.digest if head else "",
        first_event=ids[0],
        last_event=ids[-1],
        count=len(ids),
        entries=b"".join(entries[pk] for pk in ids),
    )
    seal.digest = digest_of(seal)
    try:
        with transaction.atomic():
            seal.save(force_insert=True)
            gone, _ = PendingEvent.objects.filter(event_id__in=ids).delete()
            transaction.set_rollback(gone != len(ids))  # somebody else has sealed some of them
    except IntegrityError:  # somebody else has made the link of this number
        return 0
    return len(ids) if gone == len(ids) else 0


def rows_of(ids: Iterable[UUID]) -> models.QuerySet[AuditEvent, tuple[Any, ...]]:
    """The events as they are hashed, in no order."""
    return AuditEvent.objects.filter(pk__in=list(ids)).order_by().values_list(*COLUMNS)


def entry_of(row: Iterable[Any]) -> bytes:
    """Id and hash of an event, from the values of COLUMNS."""
    values = list(row)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return bytes(values[0].bytes + hashlib.sha256(text.encode()).digest())


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def digest_of(seal: AuditSeal) -> str:
    """What the seal's `digest` must be."""
    head = f"{START}\n{seal.number}\n{seal.created_at.isoformat()}\n{seal.previous}\n"
    return hashlib.sha256(head.encode() + bytes(seal.entries)).hexdigest()
