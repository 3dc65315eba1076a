from __future__ import annotations

import pytest

from tests import factories
from tests.admin.helpers import fill
from tests.fakes.ollama import FakeOllama


@pytest.fixture
def experiment(org, alice):
    return fill(org, alice)


@pytest.fixture
def foreign(charlie):
    return fill(charlie.memberships.get().org, charlie)


@pytest.fixture
def root(client, db):
    client.force_login(factories.make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def signed_in(client, org):
    def sign_in(role):
        client.force_login(factories.make_user(f"sam-{role}", org=org, role=role, is_staff=True))
        return client

    return sign_in


@pytest.fixture
def ollama_that_lists():
    with FakeOllama() as server:
        yield server
