"""Connections to SQLite are used again, and never in a state that the next user would feel."""

from __future__ import annotations

import os

import pytest
from django.db import connection, transaction

from evalsuite.sqlite.base import DatabaseWrapper

pytestmark = [
    pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite alone"),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def database(tmp_path):
    """Makes one wrapper after another, as threads have them, for one database file."""
    settings = {**connection.settings_dict, "NAME": str(tmp_path / "db.sqlite3")}
    opened = []

    def make():
        wrapper = DatabaseWrapper(settings, "other")
        wrapper.inc_thread_sharing()
        opened.append(wrapper)
        return wrapper

    first = make()
    with first.cursor() as cursor:
        cursor.execute("CREATE TABLE word (text TEXT)")
        cursor.execute("INSERT INTO word VALUES ('one'), ('two')")
    first.close()
    yield make
    for wrapper in opened:
        wrapper.close()


def used(wrapper):
    wrapper.ensure_connection()
    raw = wrapper.connection
    wrapper.close()
    return raw


def test_a_closed_connection_serves_the_next(database):
    assert used(database()) is used(database())


def test_two_at_once_have_one_each(database):
    first, second = database(), database()
    first.ensure_connection()
    second.ensure_connection()
    assert first.connection is not second.connection


def test_an_open_transaction_is_not_handed_on(database):
    first = database()
    first.ensure_connection()
    raw = first.connection
    raw.execute("BEGIN IMMEDIATE")
    first.close()
    assert used(database()) is not raw


def test_a_half_read_query_is_not_handed_on(database):
    first = database()
    first.ensure_connection()
    raw = first.connection
    rows = raw.execute("SELECT text FROM word")
    assert next(rows)[0] == "one"
    first.close()
    assert used(database()) is not raw


def test_another_file_of_the_same_name_has_connections_of_its_own(database, tmp_path):
    raw = used(database())
    for file in tmp_path.iterdir():
        file.unlink()
    assert used(database()) is not raw


def test_foreign_keys_are_checked_whatever_was_left_behind(database):
    first = database()
    first.disable_constraint_checking()
    first.close()
    second = database()
    with second.cursor() as cursor:
        assert cursor.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_connection_that_is_closed_within_a_transaction_is_not_handed_on(org):
    with transaction.atomic():
        org.save()
        raw = connection.connection
        connection.close()
    connection.ensure_connection()
    assert connection.connection is not raw


def test_a_forked_child_begins_with_none(database):
    used(database())
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        from evalsuite.sqlite import base

        os.write(write, str(sum(map(len, base._kept.values()))).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"0"
