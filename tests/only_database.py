"""`-p tests.only_database`: of all tests those that touch the database, for a second run on another one.

The browser, the embedded model, the matrix of rights and what Redis keeps do not care which database it is;
once is enough.
"""

from __future__ import annotations

import pytest

FIXTURES = {"db", "transactional_db"}
MARKERS = ("browser", "embedded", "matrix")


def touches_database(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    marked = item.get_closest_marker("django_db") is not None
    elsewhere = any(map(item.get_closest_marker, MARKERS)) or _of_redis(item)
    return (marked or bool(names & FIXTURES)) and not elsewhere


def _of_redis(item: pytest.Item) -> bool:
    """A test of gates, in its round with Redis."""
    return "redis" in getattr(getattr(item, "callspec", None), "params", {}).values()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not touches_database(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if touches_database(item)]
