"""Many rows by one prepared statement: what `bulk_create` and `bulk_update` do, at a fraction of the price.

Values are plain (no expressions); but for `insert_alike` each goes through its field, so that every database
gets its own form. Names of tables and columns alone go into the text of a statement, never a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, models

Prepare = Callable[[Any], Any]
# Fields that take these very types without a change on every database; others may, JSON certainly may not.
PLAIN_FIELDS = {
    models.BooleanField,
    models.CharField,
    models.FloatField,
    models.PositiveBigIntegerField,
    models.PositiveIntegerField,
    models.TextField,
}
PLAIN_VALUES: frozenset[type] = frozenset({bool, float, int, str, type(None)})


def insert_rows(model: type[models.Model], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, each given by field name (a foreign key by its id, under the field's own name).

    All rows name the same fields; fields that are left out get their default, computed once for all.
    Sends no signals. Raises IntegrityError as a save would.
    """
    if not rows:
        return
    fields = model._meta.concrete_fields
    given = rows[0].keys()
    defaults = {field.name: field.get_default() for field in fields if field.name not in given}
    table = _table(model)
    names = ", ".join(_column(field) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - see above
    preparers = _preparers(fields)
    same = {name: prepare(defaults[name]) for name, prepare in preparers if name in defaults}
    _run(
        statement,
        ([same[name] if name in same else prepare(row[name]) for name, prepare in preparers] for row in rows),
    )


def insert_objects(objects: Sequence[models.Model]) -> None:
    """Insert new objects of one model, as they are. Sends no signals."""
    if not objects:
        return
    fields = objects[0]._meta.concrete_fields
    rows = [{field.name: getattr(each, field.attname) for field in fields} for each in objects]
    insert_rows(type(objects[0]), rows)
    for each in objects:
        each._state.adding = False
        each._state.db = connection.alias


def update_rows(model: type[models.Model], rows: Sequence[tuple[UUID, Mapping[str, Any]]]) -> None:
    """Write each row's values (by field name) where its primary key is the one given.

    All rows name the same fields. Lock the rows before; call inside a transaction.
    """
    if not rows:
        return
    named = {field.name: field for field in model._meta.concrete_fields}
    fields = [named[name] for name in rows[0][1]]
    key = named[model._meta.pk.name]
    targets = ", ".join(f"{_column(field)} = %s" for field in fields)
    statement = f"UPDATE {_table(model)} SET {targets} WHERE {_column(key)} = %s"  # noqa: S608 - see above
    preparers = _preparers(fields)
    [(_, prepare_key)] = _preparers([key])
    _run(
        statement,
        ([*(prepare(values[name]) for name, prepare in preparers), prepare_key(pk)] for pk, values in rows),
    )


def insert_alike(
    model: type[models.Model],
    varying: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    shared: Mapping[str, Any],
) -> None:
    """Insert rows that differ in the columns `varying` only; each row has their values in that order.

    The other columns have the value that `shared` names, else their field's default. Columns go by
    `attname`. Varying values are what the column holds: UUID, number, text, None, and for JSON its text.
    One statement; no signals are sent. Raises IntegrityError as any insert.
    """
    if not rows:
        return
    fields = {field.attname: field for field in model._meta.concrete_fields}
    differing = [fields.pop(name) for name in varying]
    alike = list(fields.values())
    constants = [_constant(field, shared.get(name, field.get_default())) for name, field in fields.items()]
    table = _table(model)
    columns = ", ".join(_column(field) for field in (*differing, *alike))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Many times faster than INSERT, whose parameters are written into the statement one by one.
            with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row((*row, *constants))
        else:
            marks = ", ".join(["%s"] * (len(differing) + len(alike)))
            statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names of our own
            cursor.executemany(statement, _flat(differing, rows, tuple(constants)))


def _constant(field: models.Field[Any, Any], value: Any) -> Any:
    if isinstance(field, models.JSONField):
        return json.dumps(value, cls=field.encoder)  # once, and not by the driver for each row
    return field.get_db_prep_save(value, connection)


def _flat(
    differing: Sequence[models.Field[Any, Any]], rows: Sequence[tuple[Any, ...]], constants: tuple[Any, ...]
) -> list[tuple[Any, ...]]:
    """For databases without a UUID type, which keep it as 32 hexadecimal digits."""
    ids = {number for number, field in enumerate(differing) if field.db_type(connection) == "char(32)"}
    columns: list[Any] = list(zip(*rows, strict=True))
    for number in ids:
        columns[number] = [value and value.hex for value in columns[number]]
    return [(*row, *constants) for row in zip(*columns, strict=True)]


def _run(statement: str, parameters: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(statement, list(parameters))


def _preparers(fields: Sequence[models.Field[Any, Any]]) -> list[tuple[str, Prepare]]:
    """By name, what brings a value into the form of the database."""
    return [(field.name, _preparer(field)) for field in fields]


def _preparer(field: models.Field[Any, Any]) -> Prepare:
    """What most values are passes as it is: asking the field costs more than the driver's whole work."""
    as_they_are: frozenset[type] = PLAIN_VALUES if type(field) in PLAIN_FIELDS else frozenset()
    if connection.features.has_native_uuid_field and isinstance(field, models.ForeignKey | models.UUIDField):
        as_they_are = frozenset({UUID})

    def prepare(value: Any) -> Any:
        return value if type(value) in as_they_are else field.get_db_prep_save(value, connection)

    return prepare


def _table(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _column(field: models.Field[Any, Any]) -> str:
    return connection.ops.quote_name(str(field.column))
