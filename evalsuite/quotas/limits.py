"""What an org may use: the operator's settings, and what the admin set for this org instead."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from evalsuite.orgs.models import Org
from evalsuite.quotas.models import OrgLimits

FIELDS = (
    "requests_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "parallel_cells",
    "cells_per_batch",
    "playground_per_minute",
)
OWN = f"SELECT {', '.join(FIELDS)} FROM {OrgLimits._meta.db_table} WHERE org_id = %s"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit."""

    requests_per_minute: int | None
    tokens_per_day: int | None  # input and output together, UTC day
    tokens_per_month: int | None
    parallel_cells: int
    cells_per_batch: int
    playground_per_minute: int | None  # of one user

    @property
    def bound_calls(self) -> bool:
        """True where calls must be reserved before they are made."""
        return not (self.requests_per_minute is self.tokens_per_day is self.tokens_per_month is None)


def limits_of(org: Org) -> Limits:
    """The limits in force now (one query by a unique key)."""
    with connection.cursor() as cursor:  # by hand: asked before every claim
        cursor.execute(OWN, [OrgLimits.org.field.get_db_prep_value(org.pk, connection)])
        own = cursor.fetchone() or (None,) * len(FIELDS)
    both = zip(own, defaults(), strict=True)
    return Limits(*(default if value is None else value for value, default in both))  # type: ignore[arg-type]


def defaults() -> tuple[int | None, ...]:
    """The installation's limits, in the order of FIELDS."""
    return (
        settings.LIMIT_REQUESTS_PER_MINUTE,
        settings.LIMIT_TOKENS_PER_DAY,
        settings.LIMIT_TOKENS_PER_MONTH,
        settings.LIMIT_PARALLEL_CELLS,
        settings.RUN_CELLS_MAX,
        settings.LIMIT_PLAYGROUND_PER_MINUTE,
    )
