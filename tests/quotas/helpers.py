"""Calls to offer, limits to set, and what must hold between ledger and counters at every moment."""

from __future__ import annotations

from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce, TruncMonth

from evalsuite.ids import new_id
from evalsuite.quotas.models import OrgLimits, UsageCounter, UsageRecord, UsageSum
from evalsuite.quotas.services import Call, Used


def a_call(tokens=10, **fields):
    defaults = {
        "attempt": new_id(),
        "kind": UsageRecord.Kind.EXPERIMENT,
        "provider": "ollama",
        "model": "tiny:1b",
    }
    return Call(**{**defaults, "tokens": tokens, **fields})


def calls(count, tokens=10, **fields):
    return [a_call(tokens, **fields) for _ in range(count)]


def used(call, tokens_in=7, tokens_out=5):
    return Used(call, tokens_in, tokens_out)


def limit(org, **limits):
    OrgLimits.objects.update_or_create(org=org, defaults=limits)


def assert_books_balance(org):
    """The counters of each month are the sums of the ledger's rows of that month."""
    tokens = Coalesce(F("input_tokens"), 0) + Coalesce(F("output_tokens"), 0)
    rows = UsageRecord.objects.filter(org=org).order_by().annotate(month=TruncMonth("day"))
    settled = {
        row["month"]: (row["calls"], row["tokens"])
        for row in rows.filter(state="settled")
        .values("month")
        .annotate(calls=Count("pk"), tokens=Sum(tokens))
    }
    reserved = {
        row["month"]: (row["calls"], row["held"])
        for row in rows.filter(state="reserved")
        .values("month")
        .annotate(calls=Count("pk"), held=Sum("reserved_tokens"))
    }
    counters = UsageCounter.objects.filter(org=org)
    for counter in counters:
        assert (counter.calls, counter.tokens) == settled.pop(counter.month, (0, 0))
        assert (counter.reserved_calls, counter.reserved_tokens) == reserved.pop(counter.month, (0, 0))
        of_day = UsageRecord.objects.filter(org=org, day=counter.day)
        assert counter.day_tokens == (of_day.filter(state="settled").aggregate(sum=Sum(tokens))["sum"] or 0)
        held = of_day.filter(state="reserved").aggregate(sum=Sum("reserved_tokens"))["sum"] or 0
        assert counter.day_reserved_tokens == held
    assert settled == reserved == {}
    sums = UsageSum.objects.filter(org=org).aggregate(
        calls=Coalesce(Sum("calls"), 0), tokens=Coalesce(Sum(F("input_tokens") + F("output_tokens")), 0)
    )
    of_rows = rows.filter(state="settled").aggregate(calls=Count("pk"), tokens=Coalesce(Sum(tokens), 0))
    assert sums == of_rows
