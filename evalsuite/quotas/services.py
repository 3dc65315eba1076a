"""Accounting for the use of models. Call inside the transaction that records the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from evalsuite.quotas.models import UsageCounter, UsageRecord


def account(records: Sequence[UsageRecord]) -> None:
    """Append to the ledger and move each org's counter by the same amounts."""
    UsageRecord.objects.bulk_create(records)
    day = timezone.now().date()
    calls: Counter[UUID] = Counter()
    tokens: Counter[UUID] = Counter()
    for record in records:
        calls[record.org_id] += 1
        tokens[record.org_id] += (record.input_tokens or 0) + (record.output_tokens or 0)
    for org_id in sorted(calls):  # one order for all writers, so that they cannot deadlock
        UsageCounter.objects.bulk_create([UsageCounter(org_id=org_id, day=day)], ignore_conflicts=True)
        UsageCounter.objects.filter(org_id=org_id, day=day).update(
            calls=F("calls") + calls[org_id], tokens=F("tokens") + tokens[org_id]
        )
