"""What tests of all apps share."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest
from rest_framework.test import APIClient

from tests import factories

GIVEN_BACK_S = 5.0  # a thread of the web server may still be on its way out


def pytest_collection_finish():
    """Code and tests stay to the end: the garbage collector need not look through them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory, django_db_modify_db_settings_parallel_suffix):
    """SQLite in a file: threads and other processes must see what a test writes."""
    from django.conf import settings

    if settings.IS_SQLITE:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        name = tmp_path_factory.mktemp("db") / f"test_{worker}.sqlite3"
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(name)


@pytest.fixture(autouse=True)
def every_slot_is_given_back():
    """A slot that is left held is renewed for ever: in the tests that follow, and in production."""
    yield
    from llm_routing import slots

    deadline = time.monotonic() + GIVEN_BACK_S
    while (left := slots.keeper.held) and time.monotonic() < deadline:
        time.sleep(0.01)
    end_keeper(slots.keeper)
    assert not left


def end_keeper(keeper):
    """Let go of what it holds, and wait until it touches no database any more."""
    keeper.discard(keeper.held)
    keeper.hurry()
    for thread in threading.enumerate():
        if thread.name == "slot-keeper":
            thread.join(GIVEN_BACK_S)
            assert not thread.is_alive()


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
    from django.urls import get_resolver

    from tests import emptying

    emptying.install()
    _ = get_resolver().url_patterns  # with them the pages of the admin, of which tests make their tables
    settings.WHITENOISE_AUTOREFRESH = True  # otherwise each test's client lists all static files anew
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # slow on purpose otherwise


@pytest.fixture
def site(transactional_db):
    """A real web server on the test's database."""
    from tests.site import Site

    with Site() as running:
        yield running


@pytest.fixture
def embedded_worker(transactional_db, settings):
    """The Celery worker of the serve process: threads and the in-memory broker."""
    from celery import current_app

    from experiments.services.execution import stopping
    from experiments.worker import EmbeddedWorker

    settings.SWEEP_EVERY = 0.2
    current_app.control.purge()
    with EmbeddedWorker() as worker:
        yield worker
    stopping.clear()  # this process goes on


@pytest.fixture
def ollama():
    from tests.fakes.obedient_ollama import ObedientOllama

    with ObedientOllama() as server:
        yield server
