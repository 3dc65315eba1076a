"""Time as the database tells it: clocks of different machines never meet in one comparison."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now


def in_seconds(seconds: float) -> Combinable:
    """An expression: so many seconds from now, by the database's clock. Negative: ago."""
    delta = Value(timedelta(seconds=seconds), output_field=DurationField())
    return ExpressionWrapper(Now() + delta, output_field=DateTimeField())
