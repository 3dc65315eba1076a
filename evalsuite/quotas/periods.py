"""The days that a report is about, as the query string says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from evalsuite.errors import InvalidBody
from evalsuite.quotas.reports import GROUPS, GroupBy

USUAL_DAYS, MOST_DAYS = 30, 366


@dataclass(frozen=True, slots=True)
class Period:
    """UTC days, both included."""

    first: date
    last: date


def period_of(query: Mapping[str, str], today: date) -> Period:
    """`from` and `to` as YYYY-MM-DD; the last 30 days where they are left out. Raises InvalidBody."""
    last = _day(query, "to") or today
    first = _day(query, "from") or last - timedelta(days=min(USUAL_DAYS - 1, (last - date.min).days))
    if first > last:
        raise InvalidBody({"from": ["This must not be later than `to`."]})
    if (last - first).days >= MOST_DAYS:
        raise InvalidBody({"from": [f"A report covers at most {MOST_DAYS} days."]})
    return Period(first, last)


def group_of(query: Mapping[str, str]) -> GroupBy:
    """`groupBy`; by day where it is left out. Raises InvalidBody."""
    text = query.get("groupBy", GROUPS[0])
    for group in GROUPS:
        if group == text:
            return group
    raise InvalidBody({"groupBy": [f"This must be one of {', '.join(GROUPS)}."]})


def _day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name)
    if not text:
        return None
    try:
        if len(text) == len("YYYY-MM-DD"):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidBody({name: ["This must be a day, such as 2026-01-31."]})
