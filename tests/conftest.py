"""The environment of every test: no secrets needed, a database file of its own, no surprises from .env."""

from __future__ import annotations

import os

os.environ["DEBUG"] = "1"
os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "sqlite:///test.sqlite3")
os.environ["BROKER_URL"] = "memory://"
os.environ.setdefault("LOG_LEVEL", "WARNING")

import pytest
from rest_framework.test import APIClient

from tests import factories


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory, django_db_modify_db_settings_parallel_suffix):
    """SQLite in a file: threads and other processes must see what a test writes."""
    from django.conf import settings

    if settings.IS_SQLITE:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        name = tmp_path_factory.mktemp("db") / f"test_{worker}.sqlite3"
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(name)


@pytest.fixture
def org(db):
    return factories.make_org()


@pytest.fixture
def alice(org):
    """The owner of `org`."""
    return factories.make_user("alice", org=org, role="owner")


@pytest.fixture
def api(alice):
    """A REST client that is signed in as Alice."""
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def charlie(db):
    """The owner of another org, who must see nothing of `org`."""
    return factories.make_user("charlie", org=factories.make_org("Elsewhere"), role="owner")


def pytest_configure():
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # slow on purpose otherwise
