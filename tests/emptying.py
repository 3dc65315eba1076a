"""How the database is emptied after each test that has transactions of its own: in milliseconds.

Django's way takes a second on PostgreSQL, where TRUNCATE gives every table and index a file of its own anew,
and then writes permissions and content types that no test looks at.
"""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations

_truncate = DatabaseOperations.sql_flush


def install() -> None:
    DatabaseOperations.sql_flush = _delete  # type: ignore[method-assign,assignment]
    vars(flush)["emit_post_migrate_signal"] = lambda *_, **__: ContentType.objects.clear_cache()


def _delete(self: DatabaseOperations, style: Any, tables: list[str], **options: Any) -> list[str]:
    """By DELETE, with triggers and foreign keys asleep: the audit log lets nobody, and all tables go."""
    if not tables or not _is_superuser():
        return _truncate(self, style, tables, **options)
    return [
        "SET LOCAL session_replication_role = replica",
        *(f"DELETE FROM {self.quote_name(table)}" for table in tables),
    ]


def _is_superuser() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW is_superuser")
        return bool(cursor.fetchone()[0] == "on")
