"""Django's SQLite backend, with connections that are used again.

Under ASGI each request and each stream has a thread of its own, and so a new connection: to open it, define
Django's functions on it and read the schema takes longer than a page's queries. A closed one is kept for
whoever opens the next.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import defaultdict
from typing import Any

from django.db.backends.sqlite3 import base, operations

from evalsuite.percentiles import PercentileCont

KEPT = 16  # of one database
_kept: dict[tuple[Any, ...], list[sqlite3.Connection]] = defaultdict(list)
_lock = threading.Lock()
_of_the_parent: list[Any] = []


class DatabaseOperations(operations.DatabaseOperations):
    def sql_flush(self, style: Any, tables: Any, **options: Any) -> list[str]:
        """As TRUNCATE elsewhere: emptying tables fires no trigger, neither those that refuse a DELETE."""
        flush: list[str] = super().sql_flush(style, tables, **options)
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = [(name, sql) for name, table, sql in cursor.fetchall() if table in tables]
        away = [f"DROP TRIGGER {self.quote_name(name)};" for name, _ in triggers]
        return [*away, *flush, *(f"{sql};" for _, sql in triggers)] if flush else []


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
    _file: tuple[Any, ...] | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> sqlite3.Connection:
        database = str(conn_params["database"])
        if (connection := _take(_identity(database))) is None:
            connection = super().get_new_connection(conn_params)
            connection.create_function("evalsuite_idle", 0, _idle)
            connection.create_aggregate("percentile_cont", 2, PercentileCont)
        else:
            connection.execute("PRAGMA foreign_keys = ON").close()
        self._file = _identity(database)
        return connection

    def _close(self) -> None:
        if self.in_atomic_block or self.errors_occurred or not _keep(self._file, self.connection):
            super()._close()  # type: ignore[misc]


def idle(database: str) -> int:
    """How many open connections wait for their next use."""
    with _lock:
        return len(_kept.get(_identity(database) or (), ()))


def _identity(database: str) -> tuple[Any, ...] | None:
    """Of the file that is there now: another one may come to bear its name. None for a database in memory."""
    try:
        found = os.stat(database)
    except OSError:
        return None
    return os.getpid(), database, found.st_dev, found.st_ino


def _idle() -> None:
    """Defined on each connection, see `_is_idle`."""


def _is_idle(connection: sqlite3.Connection) -> bool:
    """Nothing is under way on it. A half-read SELECT would show its next user the past."""
    if connection.in_transaction:
        return False
    try:
        # SQLite refuses to define a function anew while a statement is under way.
        connection.create_function("evalsuite_idle", 0, _idle)
    except sqlite3.Error:
        return False
    return True


def _take(file: tuple[Any, ...] | None) -> sqlite3.Connection | None:
    with _lock:
        return _kept[file].pop() if file and _kept.get(file) else None


def _keep(file: tuple[Any, ...] | None, connection: sqlite3.Connection | None) -> bool:
    if not file or not connection or file != _identity(file[1]) or not _is_idle(connection):
        return False
    with _lock:
        if len(_kept[file]) >= KEPT:
            return False
        _kept[file].append(connection)
    return True


def _after_fork() -> None:
    """SQLite's connections do not survive a fork; closing one in the child would undo the parent's locks."""
    global _kept, _lock
    _of_the_parent.append(_kept)
    _kept, _lock = defaultdict(list), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
