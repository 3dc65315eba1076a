"""Writing audit events. Call inside the transaction of the change that they tell of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models

from evalsuite import context
from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Org, User

LONGEST_TEXT = 256  # characters; what is longer is told by its length alone


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `after` (and `before`, for a change) are plain JSON values."""

    name: str
    org: Org | None
    actor: User | None
    subject: models.Model | None = None
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
    AuditEvent.objects.bulk_create([_row(event) for event in events])


def _row(event: Event) -> AuditEvent:
    facts = context.current.get()
    return AuditEvent(
        org=event.org,
        actor=event.actor,
        actor_name=event.actor.get_username() if event.actor else "",
        event=event.name,
        object_type=event.subject._meta.label_lower if event.subject else "",
        object_id=str(event.subject.pk) if event.subject else "",
        before=_shortened(event.before),
        after=_shortened(event.after),
        address=facts.address,
        request_id=facts.request_id,
    )


def _shortened(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {
        name: f"({len(value)} characters)" if isinstance(value, str) and len(value) > LONGEST_TEXT else value
        for name, value in values.items()
    }
