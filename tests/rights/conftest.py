from __future__ import annotations

import logging
from unittest import mock

import pytest
from django.db import transaction
from django.test import override_settings

from evalsuite import throttle
from llm_routing import slots
from tests.fakes.ollama import FakeOllama
from tests.rights.calling import Caller
from tests.rights.world import build


@pytest.fixture(scope="package")
def caller(django_db_setup, django_db_blocker):
    """Two orgs full of rows, built once: what a call writes is rolled back behind it."""
    with django_db_blocker.unblock(), FakeOllama() as provider, transaction.atomic():
        logging.disable(logging.WARNING)  # each refusal would be a line
        # The thread that renews slots would wait for this transaction.
        still = mock.patch.object(slots.Keeper, "renew", return_value=None)
        with override_settings(PRIVATE_PROVIDER_NETWORKS=["127.0.0.0/8"]), still:
            yield Caller(build(provider.url), provider)
        logging.disable(logging.NOTSET)
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def no_guess_counted(monkeypatch):
    """Many callers from one address try links that there are not."""
    monkeypatch.setattr(throttle, "_shared", lambda url: None)
    throttle._local.cache_clear()


@pytest.fixture
def _django_db_helper():
    """Tests that are marked get no transaction of their own here: they share one."""
