"""What Prometheus is told of limits when it asks."""

from __future__ import annotations

from collections.abc import Iterator

from evalsuite.metrics import families, hooks
from evalsuite.orgs.models import Org
from evalsuite.quotas import counters, ledger
from evalsuite.quotas.limits import FIELDS, Limits, defaults
from evalsuite.quotas.models import OrgLimits, UsageCounter
from evalsuite.quotas.values import WORDS


def register() -> None:
    hooks.register_gauges("quotas", quotas)


def quotas() -> Iterator[hooks.Sample]:
    """Limits of each org, and its use of those on calls (what is held for calls in the air included)."""
    moment = ledger.now()
    own = {row[0]: row[1:] for row in OrgLimits.objects.values_list("org", *FIELDS)}
    used = {row.org_id: row for row in UsageCounter.objects.filter(month=moment.month)}
    for org in Org.objects.values_list("pk", flat=True):
        both = zip(own.get(org, [None] * len(FIELDS)), defaults(), strict=True)
        limits = Limits(*(default if value is None else value for value, default in both))  # type: ignore[arg-type]
        now = counters.windows(used.get(org), moment)
        for name in WORDS:
            yield families.QUOTA_REFUSALS, (str(org), name), 0
        for name, limit, use in (
            ("requestsPerMinute", limits.requests_per_minute, now.requests),
            ("tokensPerDay", limits.tokens_per_day, now.day_tokens + now.day_reserved),
            ("tokensPerMonth", limits.tokens_per_month, now.month_tokens + now.month_reserved),
        ):
            if limit is not None:
                yield families.QUOTA_LIMIT, (str(org), name), limit
                yield families.QUOTA_USED, (str(org), name), use
        yield families.QUOTA_LIMIT, (str(org), "parallelCells"), limits.parallel_cells
