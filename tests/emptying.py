"""How the database is emptied after each test that has transactions of its own: in milliseconds.

Django's way takes a second on PostgreSQL, where TRUNCATE gives every table and index a file of its own anew,
and then writes permissions and content types again. Those stay here: they are the same for all tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations as PostgreSQL
from django.db.backends.sqlite3.base import (
    DatabaseOperations as SQLite,  # its own module needs this one first
)

KEPT = {ContentType._meta.db_table, Permission._meta.db_table}
_truncate, _delete_all = PostgreSQL.sql_flush, SQLite.sql_flush


def install() -> None:
    PostgreSQL.sql_flush = _of_postgresql  # type: ignore[method-assign,assignment]
    SQLite.sql_flush = _of_sqlite  # type: ignore[method-assign,assignment]
    vars(flush)["emit_post_migrate_signal"] = lambda *_, **__: None


def _of_postgresql(self: PostgreSQL, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
    """By DELETE, with triggers and foreign keys asleep: the audit log lets nobody, and all tables go."""
    emptied = [table for table in tables if table not in KEPT]
    if not emptied or not _is_superuser():
        return _truncate(self, style, emptied, **options)
    return [
        "SET LOCAL session_replication_role = replica",
        *(f"DELETE FROM {self.quote_name(table)}" for table in emptied),
    ]


def _of_sqlite(self: SQLite, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
    return _delete_all(self, style, [table for table in tables if table not in KEPT], **options)


def _is_superuser() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW is_superuser")
        return bool(cursor.fetchone()[0] == "on")
