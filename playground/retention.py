"""What was tried in the playground is kept for some days, and then removed."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from evalsuite.audit.services import Event, record_many
from evalsuite.orgs.models import Org
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession

log = logging.getLogger(__name__)

AT_ONCE = 200  # sessions of one transaction: others want to write as well


def purge(days: int | None = None) -> int:
    """Remove sessions in which nothing was said for so many days, and answer how many there were.

    `days` None: as the setting says; 0: nothing is ever removed. What they used stays in the ledger.
    """
    days = settings.PLAYGROUND_RETENTION_DAYS if days is None else days
    if days <= 0:
        return 0
    before = timezone.now() - timedelta(days=days)
    removed = 0
    while batch := _remove_some(before):
        removed += batch
    if removed:
        log.info("%d playground sessions were older than %d days", removed, days)
    return removed


def _outdated(before: datetime) -> QuerySet[PlaygroundSession]:
    later = PlaygroundMessage.objects.filter(session=OuterRef("pk"), created_at__gte=before)
    return PlaygroundSession.objects.filter(~Exists(later), created_at__lt=before)


def _remove_some(before: datetime) -> int:
    ids = list(_outdated(before).order_by("created_at").values_list("pk", flat=True)[:AT_ONCE])
    with transaction.atomic():
        # Looked at again: somebody may have gone on with one of them since.
        sessions = _outdated(before).filter(pk__in=ids)
        counts = Counter(sessions.values_list("org", flat=True))
        sessions.delete()
        record_many(
            Event("playground.purged", org, None, after={"sessions": counts[org.pk]})
            for org in Org.objects.filter(pk__in=counts)
        )
    _empty_comparisons(before).delete()
    return counts.total()


def _empty_comparisons(before: datetime) -> QuerySet[Comparison]:
    kept = PlaygroundSession.objects.filter(comparison=OuterRef("pk"))
    return Comparison.objects.filter(~Exists(kept), created_at__lt=before)
