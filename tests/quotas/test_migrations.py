"""What migrations do to sums that were there before."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE, AFTER = [("quotas", "0006_usage_sums")], [("quotas", "0007_usage_of_experiments")]
DAY, ALICE, TONE = date(2026, 11, 1), UUID(int=1), UUID(int=2)
NOBODY = UUID(int=0)


@pytest.mark.django_db(transaction=True)
def test_sums_by_user_and_experiment_become_sums_by_each():
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    executor = MigrationExecutor(connection)
    executor.migrate(BEFORE)
    try:
        old = executor.loader.project_state(BEFORE).apps
        org = old.get_model("orgs", "Org").objects.create(name="Old", slug="old")
        sums = old.get_model("quotas", "UsageSum").objects
        for user, experiment, model, used in [
            (ALICE, TONE, "tiny:1b", (1, 10, 100)),
            (ALICE, NOBODY, "tiny:1b", (2, 20, 200)),
            (NOBODY, TONE, "tiny:1b", (4, 40, 400)),
            (NOBODY, TONE, "big:70b", (8, 80, 800)),
        ]:
            sums.create(
                org=org, day=DAY, model_provider="ollama", model_name=model, user_id=user,
                experiment_id=experiment, calls=used[0], input_tokens=used[1], output_tokens=used[2],
            )  # fmt: skip
        executor = MigrationExecutor(connection)
        executor.migrate(AFTER)
        new = executor.loader.project_state(AFTER).apps
        used = ("calls", "input_tokens", "output_tokens")
        of_users = new.get_model("quotas", "UsageSum").objects.values_list("user_id", "model_name", *used)
        assert set(of_users) == {
            (ALICE, "tiny:1b", 3, 30, 300),
            (NOBODY, "tiny:1b", 4, 40, 400),
            (NOBODY, "big:70b", 8, 80, 800),
        }
        of_experiments = new.get_model("quotas", "ExperimentUsage").objects.values_list(
            "experiment_id", *used
        )
        assert set(of_experiments) == {(TONE, 13, 130, 1300), (NOBODY, 2, 20, 200)}
    finally:
        MigrationExecutor(connection).migrate(latest)
