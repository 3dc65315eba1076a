"""Writing audit events. Call inside the transaction of the change that they tell of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone

from evalsuite import context
from evalsuite.audit.models import AuditEvent
from evalsuite.bulk import insert_rows
from evalsuite.ids import new_id
from evalsuite.orgs.models import Org, User

LONGEST_TEXT = 256  # characters; what is longer is told by its length and hash
HASH_SHOWN = 16  # hexadecimal digits: enough to tell one text from another


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about, where no row is at hand: its model's label and its id."""

    label: str
    pk: UUID


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `after` (and `before`, for a change) are plain JSON values."""

    name: str
    org: Org | None
    actor: User | None
    subject: models.Model | Subject | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


def record(
    name: str,
    *,
    org: Org | None,
    actor: User | None,
    subject: models.Model | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Append one event."""
    record_many([Event(name, org, actor, subject, before, after)])


def record_many(events: Iterable[Event]) -> None:
    """Append several events in one statement."""
    now = timezone.now()
    insert_rows(AuditEvent, [_row(event, now) for event in events])


def _row(event: Event, now: datetime) -> dict[str, Any]:
    facts = context.current.get()
    subject = event.subject
    label = subject.label if isinstance(subject, Subject) else subject and subject._meta.label_lower
    return {
        "id": new_id(),
        "created_at": now,
        "org": event.org and event.org.pk,
        "actor": event.actor and event.actor.pk,
        "actor_name": event.actor.name_in_records if event.actor else "",
        "event": event.name,
        "object_type": label or "",
        "object_id": str(subject.pk) if subject else "",
        "before": _shortened(event.before),
        "after": _shortened(event.after),
        "address": facts.address,
        "request_id": facts.request_id,
    }


def _shortened(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else {name: _short(value) for name, value in values.items()}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else length_and_hash(value, "characters")
    if isinstance(value, dict):
        return _shortened(value)
    return [_short(one) for one in value] if isinstance(value, list) else value


def length_and_hash(text: str, unit: str) -> str:
    """In place of a long text: whoever has the text can tell that it is the same."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:HASH_SHOWN]
    return f"({len(text):,} {unit}, SHA-256 {digest}…)"
