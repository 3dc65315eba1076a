"""Every test begins with no failed login counted."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from evalsuite import throttle


@pytest.fixture(autouse=True)
def nothing_counted(settings):
    settings.REDIS_URL = ""
    throttle._local.cache_clear()
    yield
    throttle._local.cache_clear()


@pytest.fixture
def anybody(db):
    """A REST client that nobody has signed in."""
    return APIClient()


@pytest.fixture
def signed_in():
    """A REST client for a user."""

    def make(user):
        client = APIClient()
        client.force_authenticate(user)
        return client

    return make
