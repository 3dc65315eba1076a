"""Adding changes up, from one process at a time: the sweeper's turn, or whoever is asked for figures.

A change is added and deleted in one transaction, so it counts exactly once, whatever process dies. Series
of experiments that are no longer among the newest go into `other`, for good: no counter ever falls.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from evalsuite.metrics import slow
from evalsuite.metrics.families import FAMILIES, OTHER
from evalsuite.metrics.hooks import Labels, Window
from evalsuite.metrics.hooks import window as current_window
from evalsuite.metrics.models import Change, Total

EVERY_S = 10.0
AT_ONCE = 2_000  # changes of one transaction
FEW = 100  # experiments that are named in a query; with more, all series are read
TAKE = (
    f"DELETE FROM {Change._meta.db_table} WHERE id IN"  # noqa: S608 - a name of our own
    f" (SELECT id FROM {Change._meta.db_table} ORDER BY id LIMIT {AT_ONCE}) RETURNING text"
)
LOCK = f"LOCK TABLE {Total._meta.db_table} IN SHARE ROW EXCLUSIVE MODE"

Key = tuple[str, ...]  # name and labels
Numbers = dict[Key, list[float]]


def fold() -> Window:
    """Add up all that was committed before this call. Returns the window that the totals have now."""
    while True:
        window = current_window()
        if not Change.objects.exists() and not _outdated(window):
            return window  # SQLite has one writer: do not become it for nothing
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:  # readers do not wait for it, writers of changes neither
                    cursor.execute(LOCK)
            texts = _take()
            numbers: Numbers = {}
            subjects: set[str] = set()
            for text in texts:
                rows, changed = json.loads(text)
                subjects.update(changed)
                for name, labels, values in rows:
                    _add(numbers, _key(name, tuple(labels), window), values)
            for total in (outdated := _outdated(window)):
                name, *labels = json.loads(total.key)
                _add(numbers, _key(name, tuple(labels), window), total.numbers)
            _delete(outdated)
            _write(numbers)
            slow.mark(subjects)
        if len(texts) < AT_ONCE:
            return window


def totals() -> Iterable[tuple[str, Labels, list[float]]]:
    for key, numbers in Total.objects.order_by("key").values_list("key", "numbers"):
        name, *labels = json.loads(key)
        yield name, tuple(labels), numbers


def _take() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(TAKE)
        return [row[0] for row in cursor.fetchall()]


def _outdated(window: Window) -> list[Total]:
    """Series whose experiment or variant has no label of its own any more."""
    scoped = Total.objects.filter(experiment__isnull=False).order_by()
    scopes: Any = scoped.values_list("experiment", "variant").distinct()
    gone = {scope for scope in scopes if _is_gone(scope, window)}
    if not gone:
        return []
    experiments = {experiment for experiment, _ in gone}
    found = scoped.filter(experiment__in=experiments) if len(experiments) <= FEW else scoped
    return [total for total in found if (total.experiment, total.variant) in gone]


def _is_gone(scope: tuple[UUID, UUID | None], window: Window) -> bool:
    experiment, variant = scope
    if str(experiment) not in window.experiments:
        return True
    return variant is not None and str(variant) not in window.variants


def _key(name: str, labels: Labels, window: Window) -> Key:
    return (name, *(window.shown(labels) if FAMILIES[name].of_cells else labels))


def _scope(key: Key) -> list[str | None]:
    """Org, experiment and variant, as far as the labels name them."""
    labels = key[1:] if FAMILIES[key[0]].of_cells else (OTHER,) * 3
    return [None if label == OTHER else label for label in labels]


def _add(numbers: Numbers, key: Key, values: list[float]) -> None:
    if key in numbers:
        values = [one + other for one, other in zip(numbers[key], values, strict=True)]
    numbers[key] = values


def _delete(totals: Sequence[Total]) -> None:
    for begin in range(0, len(totals), AT_ONCE):
        Total.objects.filter(pk__in=[total.pk for total in totals[begin:][:AT_ONCE]]).delete()


def _write(numbers: Numbers) -> None:
    keys = {json.dumps(key, ensure_ascii=False, separators=(",", ":")): key for key in sorted(numbers)}
    known: Mapping[str, Total] = Total.objects.in_bulk(list(keys), field_name="key")
    rows = []
    for text, key in keys.items():
        values = numbers[key]
        if text in known:
            values = [one + other for one, other in zip(known[text].numbers, values, strict=True)]
        _, experiment, variant = _scope(key)
        rows.append(Total(key=text, numbers=values, experiment=experiment, variant=variant))
    Total.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["key"], update_fields=["numbers"], batch_size=1_000
    )
