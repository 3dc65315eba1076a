"""Rows of which the database makes what JSON has, for answers of thousands of them.

To make a UUID or a datetime of each value, and text of it again, takes longer than all the rest of such an
answer. What comes is to the letter what the serializer makes of the same row.
"""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, Expression, F, Func, Value
from django.db.models.functions import NullIf
from rest_framework import serializers

from evalsuite.fields import Moment, RowSerializer, TextOrNull


def columns(serializer: type[RowSerializer], **made: Expression | F) -> dict[str, Expression | F]:
    """By the names of the answer: for `values` and their list. `made`: those that no column has."""
    return {
        name: made[name] if name in made else _column(field, F(str(field.source)))
        for name, field in serializer().fields.items()
    }


def _column(field: Any, kept: F) -> Expression | F:
    if isinstance(field, serializers.UUIDField):
        return IdAsText(kept)
    if isinstance(field, Moment):
        return MomentAsText(kept)
    if isinstance(field, TextOrNull):
        return NullIf(kept, Value(""), output_field=CharField())
    return kept


class IdAsText(Func):
    output_field = CharField()
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s::text", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Kept are the 32 digits."""
        parts = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        template = " || '-' || ".join(f"substr(%(expressions)s, {at}, {length})" for at, length in parts)
        return self.as_sql(compiler, connection, template=f"({template})", **context)


class MomentAsText(Func):
    """ISO 8601 in UTC, without a fraction where there is none."""

    output_field = CharField()
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        pattern = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        text = f"to_char(%(expressions)s AT TIME ZONE 'UTC', '{pattern}')"
        return self.as_sql(compiler, connection, template=f"replace({text}, '.000000', '')", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Kept is the same text with a space in it, in milliseconds where SQLite's own clock was asked."""
        kept = "replace(%(expressions)s, ' ', 'T')"
        text = f"{kept} || CASE length({kept}) WHEN 23 THEN '000Z' ELSE 'Z' END"
        return self.as_sql(compiler, connection, template=f"replace({text}, '.000000', '')", **context)
