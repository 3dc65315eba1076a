"""The environment of every test, set before Django reads it: no secrets needed, nothing from .env.

Loaded by `-p tests.environment`; a conftest would come too late.
"""

from __future__ import annotations

import os

os.environ.update(
    DEBUG="1",
    ALLOWED_HOSTS="testserver,127.0.0.1,localhost",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL") or "sqlite:///test.sqlite3",
    BROKER_URL="memory://",
    REDIS_URL="",
    DJANGO_ALLOW_ASYNC_UNSAFE="1",  # Playwright keeps an event loop in the thread of the tests
)
os.environ.setdefault("LOG_LEVEL", "WARNING")
