"""Connections to the database, which are few."""

from __future__ import annotations

from django.db import connections


def let_go() -> None:
    """Give back what this thread holds, before a long wait. An open transaction keeps its connection."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
