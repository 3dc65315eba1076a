"""Many rows by one prepared statement: what `bulk_create` and `bulk_update` do, at a fraction of the price.

Values are plain (no expressions); but for `insert_alike` each goes through its field, so that every database
gets its own form. Names of tables and columns alone go into the text of a statement, never a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
ROWS_AT_ONCE = 1_000  # as text: a hundred thousand would take as much memory as all else
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
    preparers = _preparers(fields)
    same = {name: prepare(defaults[name]) for name, prepare in preparers if name in defaults}
    values = [
        [same[name] if name in same else prepare(row[name]) for name, prepare in preparers] for row in rows
    ]
    _insert(model, fields, values)


def insert_few(*objects: models.Model) -> None:
    """Insert new objects, as they are, each after those that it refers to. Sends no signals.

    PostgreSQL is sent all of them at once: for so little the way there and back is what takes time.
    """
    statements, values = [], []
    for each in objects:
        fields = each._meta.concrete_fields
        statements.append(_statement(type(each), fields))
        values.append([field.get_db_prep_save(getattr(each, field.attname), connection) for field in fields])
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("; ".join(statements), [value for row in values for value in row])
        else:
            for statement, row in zip(statements, values, strict=True):
                cursor.execute(statement, row)
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
    if connection.vendor == "postgresql":
        _update_by_join(model, key, fields, rows)
        return
    targets = ", ".join(f"{_column(field)} = %s" for field in fields)
    statement = f"UPDATE {_table(model)} SET {targets} WHERE {_column(key)} = %s"  # noqa: S608 - see above
    preparers = _preparers(fields)
    [(_, prepare_key)] = _preparers([key])
    values = [
        [*(prepare(values[name]) for name, prepare in preparers), prepare_key(pk)] for pk, values in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def _update_by_join(
    model: type[models.Model],
    key: models.Field[Any, Any],
    fields: Sequence[models.Field[Any, Any]],
    rows: Sequence[tuple[UUID, Mapping[str, Any]]],
) -> None:
    """One statement that PostgreSQL plans once, in place of one for each row."""
    encoders = {field.name: field.encoder for field in fields if isinstance(field, models.JSONField)}
    given = [
        {
            "pk": pk,
            **{
                name: json.dumps(value, cls=encoders[name]) if name in encoders else value
                for name, value in values.items()
            },
        }
        for pk, values in rows
    ]
    kinds = {field.name: "text" if field.name in encoders else field.db_type(connection) for field in fields}
    columns = ", ".join([f'"pk" {key.db_type(connection)}', *(f'"{name}" {kinds[name]}' for name in kinds)])
    targets = ", ".join(
        f'{_column(field)} = given."{field.name}"{"::jsonb" if field.name in encoders else ""}'
        for field in fields
    )
    statement = (
        f"UPDATE {_table(model)} SET {targets} FROM json_to_recordset(%s) AS given ({columns})"  # noqa: S608
        f' WHERE {_table(model)}.{_column(key)} = given."pk"'
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [json.dumps(given, default=str)])


def insert_alike(model: type[models.Model], varying: Sequence[str], *groups: Alike) -> None:
    """Insert rows of which those of a group differ in the columns `varying` only.

    The other columns have the value that the group names (the same columns in each group), else their field's
    default. Columns go by `attname`. Varying values are what the column holds: UUID, number, text, None, and
    for JSON its text. One statement; no signals are sent. Raises IntegrityError as any insert.
    """
    if not any(group.rows for group in groups):
        return
    fields = {field.attname: field for field in model._meta.concrete_fields}
    differing = [fields.pop(name) for name in varying]
    defaults = {name: field.get_default() for name, field in fields.items()}
    columns = [*differing, *fields.values()]
    constants = [
        [_constant(field, group.shared.get(name, defaults[name])) for name, field in fields.items()]
        for group in groups
    ]
    if connection.vendor == "postgresql":
        into = _copy_into(model, columns)
        with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(into) as copy:
            for group, values in zip(groups, constants, strict=True):
                for text in _lines(group.rows, values):
                    copy.write(text)
    else:
        for group, values in zip(groups, constants, strict=True):
            _insert(model, columns, _flat(differing, group.rows, tuple(values)))


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows with the values of the varying columns in their order, and what the others have in all of them."""

    rows: Sequence[tuple[Any, ...]]
    shared: Mapping[str, Any]


def _lines(rows: Sequence[tuple[Any, ...]], constants: Sequence[Any]) -> Iterator[str]:
    """Many rows at once, as COPY reads them. What is alike is written out once, not for each row."""
    tail = "".join(f"\t{_copied(value)}" for value in constants) + "\n"
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        yield "".join(["\t".join(map(_copied, row)) + tail for row in rows[begin : begin + ROWS_AT_ONCE]])


def _copied(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return str(value)


def _insert(
    model: type[models.Model], fields: Sequence[models.Field[Any, Any]], rows: Sequence[Sequence[Any]]
) -> None:
    """Values are in the form of the database."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and len(rows) > 1:
            # Many times faster than INSERT, whose parameters are written into the statement one by one.
            with connection.wrap_database_errors, cursor.copy(_copy_into(model, fields)) as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            statement = _statement(model, fields)
            if len(rows) == 1:  # one round trip, where a pipeline takes two
                cursor.execute(statement, rows[0])
            else:
                cursor.executemany(statement, list(rows))


def _statement(model: type[models.Model], fields: Sequence[models.Field[Any, Any]]) -> str:
    columns, marks = ", ".join(map(_column, fields)), ", ".join(["%s"] * len(fields))
    return f"INSERT INTO {_table(model)} ({columns}) VALUES ({marks})"  # noqa: S608 - our names


def _copy_into(model: type[models.Model], fields: Sequence[models.Field[Any, Any]]) -> str:
    return f"COPY {_table(model)} ({', '.join(map(_column, fields))}) FROM STDIN"


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
