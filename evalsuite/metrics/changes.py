"""Counting, in the transaction that records what is counted: what is rolled back was never counted.

One row is inserted for each transaction and nothing is locked, so that writers never wait for each other.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable
from uuid import UUID

from django.db import connection

from evalsuite.metrics.families import LATENCY_MS, Family
from evalsuite.metrics.models import Change

TABLE = Change._meta.db_table
BUCKETS = len(LATENCY_MS) + 1  # the last one has no upper bound

Label = str | UUID


class Changes:
    """Collects what a transaction counts, and writes it once."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        self._subjects: set[str] = set()

    def count(self, family: Family, *labels: Label, by: int = 1) -> None:
        if by:
            self._series(family, labels, 1)[0] += by

    def observe(self, family: Family, milliseconds: float, *labels: Label) -> None:
        numbers = self._series(family, labels, 1 + BUCKETS)
        numbers[0] += milliseconds
        numbers[1 + bisect_left(LATENCY_MS, milliseconds)] += 1

    def touch(self, subjects: Iterable[str]) -> None:
        """These figures (`slow`) are not true any more."""
        self._subjects.update(subjects)

    def save(self) -> None:
        """Call inside the transaction, wherever in it."""
        if not self._numbers and not self._subjects:
            return
        rows = [[name, labels, numbers] for (name, labels), numbers in self._numbers.items()]
        text = json.dumps([rows, sorted(self._subjects)], separators=(",", ":"))
        with connection.cursor() as cursor:  # by hand: on the way to every first token
            cursor.execute(f"INSERT INTO {TABLE} (text) VALUES (%s)", [text])  # noqa: S608

    def _series(self, family: Family, labels: tuple[Label, ...], length: int) -> list[float]:
        if len(labels) != len(family.labels):
            raise AssertionError(f"{family.name} has the labels {family.labels}")
        key = family.name, tuple(map(str, labels))
        if key not in self._numbers:
            self._numbers[key] = [0] * length
        return self._numbers[key]
