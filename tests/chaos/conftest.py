"""One installation for all the scenes of a test process; each scene brings its own workers."""

from __future__ import annotations

import shutil

import pytest

from tests.chaos import scenarios
from tests.chaos.parts import postgres_bin


@pytest.fixture(scope="session")
def servers():
    """An installation on PostgreSQL and Redis of our own, and its provider."""
    if not (shutil.which("redis-server") and postgres_bin()):
        pytest.skip("needs the programs of Redis and PostgreSQL, to start servers of its own")
    with scenarios.installation() as (made, provider):
        yield made, provider
