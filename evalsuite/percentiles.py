"""Percentiles worked out by the database, on SQLite with a function of ours."""

from __future__ import annotations

import math
from typing import Any

from django.db.models import Aggregate, FloatField


class Percentile(Aggregate):
    """The value below which this share of the values lies, between the two nearest ones."""

    function = "percentile_cont"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()

    def __init__(self, expression: Any, share: float, **extra: Any) -> None:
        super().__init__(expression, share=share, **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        plain = self.copy()
        plain.template = "%(function)s(%(expressions)s, %(share)s)"
        return plain.as_sql(compiler, connection, **extra)


class PercentileCont:
    """PostgreSQL's aggregate of that name, for SQLite's connections."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.share = 0.0

    def step(self, value: float | None, share: float) -> None:
        self.share = share
        if value is not None:
            self.values.append(value)

    def finalize(self) -> float | None:
        if not self.values:
            return None
        self.values.sort()
        position = (len(self.values) - 1) * self.share
        low, high = self.values[math.floor(position)], self.values[math.ceil(position)]
        return low + (high - low) * (position - math.floor(position))
