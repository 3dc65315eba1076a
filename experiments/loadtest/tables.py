"""Rows on their way into a table, many in one statement."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.db import connection, models

NULL = r"\N"
Value = str | int | float | None


class Table:
    """Rows of one model that differ in `columns` (by attname), and share all else.

    Values are what both databases read into the column: ids as 32 digits, times as text, JSON as text, and
    no text with a tab, a line's end or a backslash. This is `insert_alike` for millions of rows: each is
    held as a line in the form of COPY, which costs a tenth of what the driver takes for it.
    """

    def __init__(self, model: type[models.Model], *columns: str, **shared: Any) -> None:
        fields = {field.attname: field for field in model._meta.concrete_fields}
        named = [fields.pop(name) for name in columns]
        self._same = [_plain(field, shared.get(name, field.get_default())) for name, field in fields.items()]
        self._columns = [connection.ops.quote_name(str(one.column)) for one in (*named, *fields.values())]
        self._table = connection.ops.quote_name(model._meta.db_table)
        self.lines: list[str] = []
        self.written = 0
        self.add_line: Callable[[str], None] = self.lines.append

    def add(self, *values: Value) -> None:
        self.lines.append(line(values))

    def flush(self) -> None:
        if not self.lines:
            return
        names = ", ".join(self._columns)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                end = line(self._same)
                end = f"\t{end}\n" if self._same else "\n"
                statement = f"COPY {self._table} ({names}) FROM STDIN"
                with connection.wrap_database_errors, cursor.copy(statement) as copy:
                    copy.write(end.join([*self.lines, ""]))
            else:
                marks = ", ".join(["%s"] * len(self._columns))
                statement = f"INSERT INTO {self._table} ({names}) VALUES ({marks})"  # noqa: S608 - our names
                cursor.executemany(statement, [(*_values(text), *self._same) for text in self.lines])
        self.written += len(self.lines)
        self.lines.clear()


def _plain(field: models.Field[Any, Any], value: Any) -> Value:
    if isinstance(field, models.JSONField):
        return None if value is None and field.null else json.dumps(value)
    if isinstance(value, UUID):
        return value.hex
    return int(value) if isinstance(value, bool) else value


def line(values: Iterable[Value]) -> str:
    return "\t".join([NULL if value is None else str(value) for value in values])


def _values(text: str) -> list[Value]:
    """SQLite gives each text the type of its column."""
    return [None if value == NULL else value for value in text.split("\t")]
