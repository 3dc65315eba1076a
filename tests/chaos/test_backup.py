"""What is dumped in the middle of a batch is enough to end it somewhere else."""

from __future__ import annotations

import shutil

import pytest

from tests.chaos import backups
from tests.chaos.parts import postgres_bin

pytestmark = pytest.mark.timeout(400)


@pytest.mark.skipif(
    not (shutil.which("redis-server") and postgres_bin()),
    reason="needs the programs of Redis and PostgreSQL, to start servers of its own",
)
def test_a_batch_goes_on_from_a_dump_of_postgresql():
    assert backups.restored(embedded=False).figures.cells == 200


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="needs the program sqlite3")
def test_a_batch_goes_on_from_a_backup_of_sqlite():
    assert backups.restored(embedded=True).figures.cells == 200
