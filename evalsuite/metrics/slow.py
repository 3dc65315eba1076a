"""Gauges that need a look at many rows: computed in turn, within a budget, and shown as they were then.

What took long is not computed again before twenty times as long is over, so that all this never takes
more than a twentieth of one connection's time. What nobody has marked is looked at now and then all the
same: rows may go in ways that nobody tells us.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from evalsuite.clock import in_seconds
from evalsuite.metrics.families import FAMILIES
from evalsuite.metrics.hooks import Sample, Window
from evalsuite.metrics.hooks import slow as registered
from evalsuite.metrics.models import Figure

log = logging.getLogger(__name__)

BUDGET_S = 0.5  # for each look of somebody
REST = 20  # times what it took
AGAIN_S = 60.0  # after it broke
LONGEST_S = 600.0  # until it is computed again although nobody has marked it


def mark(subjects: Collection[str]) -> None:
    """These are not true any more."""
    Figure.objects.filter(subject__in=sorted(subjects), stale=False).update(stale=True)


def refresh(window: Window, *, budget_s: float = BUDGET_S) -> None:
    """Compute what is due, the oldest first, until the budget is used."""
    _keep_subjects(window)
    deadline = time.monotonic() + budget_s
    for figure in list(_due().order_by(F("computed_at").asc(nulls_first=True))):
        if time.monotonic() >= deadline:
            return
        _compute(figure)


def samples() -> Iterable[Sample]:
    for found in Figure.objects.order_by("subject").values_list("samples", flat=True):
        for name, labels, value in found:
            yield FAMILIES[name], tuple(labels), value


def _keep_subjects(window: Window) -> None:
    wanted = {subject for slow in registered().values() for subject in slow.subjects(window)}
    known = set(Figure.objects.values_list("subject", flat=True))
    if gone := known - wanted:
        Figure.objects.filter(subject__in=gone).delete()
    if new := wanted - known:
        Figure.objects.bulk_create(
            [Figure(subject=subject, due_at=in_seconds(-1)) for subject in sorted(new)], ignore_conflicts=True
        )


def _due() -> QuerySet[Figure]:
    always = [name for name, slow in registered().items() if slow.always]
    unmarked = Q(computed_at__lt=in_seconds(-LONGEST_S)) | Q(subject__in=always)
    return Figure.objects.filter(Q(stale=True) | unmarked, due_at__lte=Now())


def _compute(figure: Figure) -> None:
    """Marked as true before it is computed: what changes meanwhile marks it again."""
    mine = Figure.objects.filter(pk=figure.pk)
    if not mine.filter(due_at__lte=Now()).update(stale=False, due_at=in_seconds(BUDGET_S)):
        return  # another process has just taken it
    begun = time.monotonic()
    compute = registered()[figure.subject.partition(":")[0]].compute
    try:
        found = [[family.name, labels, value] for family, labels, value in compute(figure.subject)]
    except Exception:
        # All other figures are fine; the old one is shown until this can be computed.
        log.exception("%s could not be computed", figure.subject)
        mine.update(stale=True, due_at=in_seconds(AGAIN_S))
        return
    took_s = time.monotonic() - begun
    mine.update(samples=found, computed_at=Now(), due_at=in_seconds(REST * took_s))
