"""What an org has used, told from the sums of its ledger, and its use against its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args
from uuid import UUID

from django.db.models import F, FloatField, Q, Sum
from django.db.models.functions import Cast

from evalsuite.orgs.models import Org, User
from evalsuite.quotas import counters, ledger
from evalsuite.quotas.hooks import gauge, names
from evalsuite.quotas.limits import limits_of
from evalsuite.quotas.models import (
    NOBODY,
    ExperimentUsage,
    PlaygroundMinute,
    UsageCounter,
    UsageSum,
)
from evalsuite.quotas.values import WORDS, Moment

GroupBy = Literal["day", "model", "user", "experiment"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
COLUMNS: dict[GroupBy, tuple[str, ...]] = {
    "day": ("day",),
    "model": ("model_provider", "model_name"),
    "user": ("user_id",),
    "experiment": ("experiment_id",),
}
# As floating point, which is exact up to 2 ** 53. Whole numbers make sums of any size in PostgreSQL, which
# take it more than twice as long to add up and to sort by.
SUMS = {
    "number": Sum(Cast("calls", FloatField())),
    "tokens_in": Sum(Cast("input_tokens", FloatField())),
    "tokens_out": Sum(Cast("output_tokens", FloatField())),
}
NONE = {"user": "No user", "experiment": "No experiment"}
NEAR_PERCENT = 80  # from which on a limit is said to be nearly used up
GONE = {"user": "A removed account", "experiment": "A deleted experiment"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls whose results were recorded, and their tokens as far as providers told them."""

    key: (
        str | None
    )  # a day as YYYY-MM-DD, PROVIDER/MODEL, or an id; None: calls of nobody, or of no experiment
    name: str
    calls: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class LimitInUse:
    """One limit. `used` holds what is reserved; None where nothing is counted without a limit."""

    name: str  # a key of WORDS
    limit: int | None
    used: int | None
    resets_at: datetime | None  # None: the limit has no window

    @property
    def words(self) -> str:
        return WORDS[self.name].capitalize()

    @property
    def percent(self) -> int | None:
        """None without a limit or a count."""
        if self.limit is None or self.used is None:
            return None
        return min(100, 100 * self.used // self.limit) if self.limit else 100

    @property
    def is_near(self) -> bool:
        return self.percent is not None and self.percent >= NEAR_PERCENT

    @property
    def is_over(self) -> bool:
        return self.percent is not None and self.percent >= 100


def usage(org: Org, group_by: GroupBy, first: date, last: date) -> Any:
    """The org's use in these UTC days, both included, a row for each group: `told` makes Usage of those
    that are shown. Days newest first, all else by tokens.
    """
    columns = COLUMNS[group_by]
    sums = ExperimentUsage if group_by == "experiment" else UsageSum
    rows = _within(sums, org, first, last).values(*columns).annotate(**SUMS)
    if group_by == "day":
        return rows.order_by("-day")
    tokens = F("tokens_in") + F("tokens_out")
    return rows.annotate(tokens=tokens).order_by("-tokens", "-number", *columns)


def told(org: Org, group_by: GroupBy, rows: Sequence[dict[str, Any]]) -> list[Usage]:
    return [
        Usage(*label, *(int(row[name]) for name in SUMS))
        for label, row in zip(_labels(org, group_by, rows), rows, strict=True)
    ]


def total(org: Org, first: date, last: date) -> Usage:
    """Of all groups."""
    sums = _within(UsageSum, org, first, last).aggregate(**SUMS)
    return Usage(None, "Total", *(int(sums[name] or 0) for name in SUMS))


def without(rows: Sequence[Usage], whole: Usage) -> Usage:
    """What of it belongs to none of these rows."""
    return Usage(
        None,
        "Others",
        whole.calls - sum(row.calls for row in rows),
        whole.input_tokens - sum(row.input_tokens for row in rows),
        whole.output_tokens - sum(row.output_tokens for row in rows),
    )


def _within(sums: type[UsageSum | ExperimentUsage], org: Org, first: date, last: date) -> Any:
    return sums.objects.for_org(org).filter(day__gte=first, day__lte=last).order_by()


def _labels(org: Org, group_by: GroupBy, rows: Sequence[dict[str, Any]]) -> list[tuple[str | None, str]]:
    """A key and a name for each row."""
    if group_by == "day":
        return [(row["day"].isoformat(), f"{row['day']:%-d %b %Y}") for row in rows]
    if group_by == "model":
        return [
            (f"{row['model_provider']}/{row['model_name']}", f"{row['model_name']} · {row['model_provider']}")
            for row in rows
        ]
    of_row = [row[COLUMNS[group_by][0]] for row in rows]
    ids: list[UUID | None] = [None if one == NOBODY else one for one in of_row]
    known = _names(org, group_by, [one for one in ids if one])
    return [(str(one), known.get(one, GONE[group_by])) if one else (None, NONE[group_by]) for one in ids]


def _names(org: Org, group_by: GroupBy, ids: list[UUID]) -> dict[UUID, str]:
    if group_by == "user":
        return dict(User.objects.filter(pk__in=ids).values_list("pk", "username"))
    return dict(names(group_by, org, ids))


def limits_in_use(org: Org, user: User) -> list[LimitInUse]:
    """Every limit of the org, and the use of it now; of the playground's, this user's own."""
    limits, moment = limits_of(org), ledger.now()
    row = UsageCounter.objects.filter(org=org, month=moment.month).first()
    used = counters.windows(row, moment)
    counted = limits.requests_per_minute is not None
    return [
        LimitInUse(
            "requestsPerMinute",
            limits.requests_per_minute,
            used.requests if counted else None,
            moment.next_minute,
        ),
        LimitInUse(
            "tokensPerDay", limits.tokens_per_day, used.day_tokens + used.day_reserved, moment.next_day
        ),
        LimitInUse(
            "tokensPerMonth",
            limits.tokens_per_month,
            used.month_tokens + used.month_reserved,
            moment.next_month,
        ),
        LimitInUse("parallelCells", limits.parallel_cells, gauge("parallelCells", org), None),
        LimitInUse("cellsPerBatch", limits.cells_per_batch, None, None),
        LimitInUse(
            "playgroundPerMinute",
            limits.playground_per_minute,
            _playground(org, user, moment) if limits.playground_per_minute is not None else None,
            moment.next_minute,
        ),
    ]


def _playground(org: Org, user: User, moment: Moment) -> int:
    mine = Q(org=org, user_id=user.pk, minute__gte=moment.minute)
    return PlaygroundMinute.objects.filter(mine).values_list("requests", flat=True).first() or 0
