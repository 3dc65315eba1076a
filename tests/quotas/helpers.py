"""Calls to offer, limits to set, and what must hold between ledger and counters at every moment."""

from __future__ import annotations

from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce, TruncMonth

from evalsuite.ids import new_id
from evalsuite.quotas.models import NOBODY, ExperimentUsage, OrgLimits, UsageCounter, UsageRecord, UsageSum
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
    used = rows.filter(state="settled")
    _assert_sums(UsageSum, org, used, ["day", "model_provider", "model_name", "user_id"])
    _assert_sums(ExperimentUsage, org, used, ["day", "experiment_id"])


def _assert_sums(model, org, used, keys):
    """What is kept beside the ledger is what its rows add up to, key by key."""
    names = ("calls", "input_tokens", "output_tokens")
    kept = {
        tuple(None if row[key] == NOBODY else row[key] for key in keys): tuple(row[name] for name in names)
        for row in model.objects.filter(org=org).values(*keys, *names)
    }
    of_rows = used.values_list(*keys).annotate(
        Count("pk"), into=Coalesce(Sum("input_tokens"), 0), out=Coalesce(Sum("output_tokens"), 0)
    )
    assert kept == {row[: len(keys)]: row[len(keys) :] for row in of_rows}
