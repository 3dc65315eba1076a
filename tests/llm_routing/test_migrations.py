"""What migrations do to rows that were there before."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE, AFTER = [("llm_routing", "0003_gates_and_weights")], [("llm_routing", "0004_profile_versions")]


@pytest.mark.django_db(transaction=True)
def test_profiles_from_before_have_the_version_that_they_are_at():
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    executor = MigrationExecutor(connection)
    executor.migrate(BEFORE)
    try:
        old = executor.loader.project_state(BEFORE).apps
        org = old.get_model("orgs", "Org").objects.create(name="Old", slug="old")
        old.get_model("llm_routing", "ChatProfile").objects.create(
            org=org, name="Helper", model_provider="ollama", model_name="tiny:1b", version=7, top_p=0.5
        )
        executor = MigrationExecutor(connection)
        executor.migrate(AFTER)
        new = executor.loader.project_state(AFTER).apps
        version = new.get_model("llm_routing", "ChatProfileVersion").objects.get()
        assert (version.number, version.name, version.top_p) == (7, "Helper", 0.5)
        assert (version.author_id, version.created_at) == (None, version.profile.updated_at)
    finally:
        MigrationExecutor(connection).migrate(latest)
