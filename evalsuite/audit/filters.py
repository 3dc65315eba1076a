"""Which events of an org are asked for, as the query string says it, for the page and the API alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from evalsuite.audit.models import OF_CELLS, AuditEvent
from evalsuite.errors import InvalidBody
from evalsuite.ids import parse_id
from evalsuite.orgs.models import Org, User

LONGEST = 200  # characters of a filter
CLOCK = timedelta(minutes=1)  # by so much may the time in an id differ from that beside it
NAMES = ("event", "actor", "object", "from", "to")


@dataclass(frozen=True, slots=True)
class Wish:
    """Empty or None: whatever it is. `start` and `end` are both included."""

    event: str = ""  # a name, or its beginning up to a dot
    actor: str = ""  # a user name or the id of a user
    subject: str = ""  # the id of an object
    start: datetime | None = None
    end: datetime | None = None


def wish_of(query: Mapping[str, str]) -> Wish:
    """From `event`, `actor`, `object`, `from` and `to`. Raises InvalidBody naming each that is wrong."""
    texts = {name: query.get(name, "").strip() for name in NAMES}
    wrong = {
        name: ["This is no text that can be looked for."]
        for name, text in texts.items()
        if len(text) > LONGEST or "\0" in text
    }
    times: dict[str, datetime | None] = {}
    for name, of_day in (("from", time.min), ("to", time.max)):
        try:
            times[name] = _moment(texts[name], of_day) if name not in wrong else None
        except ValueError:
            wrong[name] = ["This must be a day or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z."]
    if not wrong and times["from"] and times["to"] and times["from"] > times["to"]:
        wrong["from"] = ["This must not be later than `to`."]
    if wrong:
        raise InvalidBody(wrong)
    return Wish(texts["event"], texts["actor"], texts["object"], times["from"], times["to"])


def _moment(text: str, of_day: time) -> datetime | None:
    """Raises ValueError. Without a zone it is UTC."""
    if not text:
        return None
    day = parse_date(text)
    moment = datetime.combine(day, of_day) if day else parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def found(org: Org, wish: Wish) -> QuerySet[AuditEvent]:
    """The org's events that are asked for, in no order yet."""
    events: QuerySet[AuditEvent] = AuditEvent.objects.for_org(org)
    if wish.event:
        events = _named(events, wish.event)
    if wish.actor:
        events = events.filter(**_by(wish.actor))
    if wish.subject:
        known = parse_id(wish.subject)
        events = events.filter(object_id=str(known) if known else wish.subject)
    # Rows are found by their ids, which hold the time; the column tells exactly.
    if wish.start:
        events = events.filter(pk__gte=_first_id(wish.start, -CLOCK), created_at__gte=wish.start)
    if wish.end:
        events = events.filter(pk__lt=_first_id(wish.end, CLOCK), created_at__lte=wish.end)
    return events


def _named(events: QuerySet[AuditEvent], name: str) -> QuerySet[AuditEvent]:
    beginning = name if name.endswith(".") else f"{name}."
    if name != OF_CELLS and not OF_CELLS.startswith(beginning):
        events = events.exclude(event=OF_CELLS)  # said for the index that leaves these out
    below = events.filter(event__startswith=beginning)
    if beginning == name:
        return below
    # A name alone is read in the order of that index; with others beside it, all are looked through.
    return events.filter(Q(event=name) | Q(event__startswith=beginning) if below.exists() else Q(event=name))


def _by(actor: str) -> dict[str, Any]:
    """By id, so that an index serves, and under all names that the person had. Else by the name written."""
    pk = parse_id(actor) or User.objects.filter(username=actor).values_list("pk", flat=True).first()
    return {"actor": pk} if pk else {"actor_name": actor}


def _first_id(moment: datetime, later: timedelta) -> UUID:
    """The least id that an event of that time can have (UUID version 7: it begins with milliseconds).

    `later` is added to what has passed since 1970: years 1 and 9999 leave a datetime no room for it.
    """
    passed = moment - datetime.fromtimestamp(0, UTC) + later
    return UUID(int=max(0, passed // timedelta(milliseconds=1)) << 80)
