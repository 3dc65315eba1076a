"""The statements that add what was settled to the sums that reports read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import connection

from evalsuite.quotas.ledger import Settled
from evalsuite.quotas.models import NOBODY, ExperimentUsage, Sums, UsageSum

ADDED = ("calls", "input_tokens", "output_tokens")


def _adding(model: type[Sums], *keys: str) -> tuple[str, str]:
    """A statement in two parts, before and behind the rows: org, day, keys, and what is added."""
    table, columns = model._meta.db_table, ", ".join(("org_id", "day", *keys))
    into = f"INSERT INTO {table} ({columns}, {', '.join(ADDED)})"
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in ADDED)
    return into, f"ON CONFLICT ({columns}) DO UPDATE SET {sums}"


INTO_USAGE, ADD_TO_USAGE = _adding(UsageSum, "model_provider", "model_name", "user_id")
INTO_EXPERIMENTS, ADD_TO_EXPERIMENTS = _adding(ExperimentUsage, "experiment_id")
# In the words of PostgreSQL, of rows that are called `settled`. Each takes the org's id.
OF_NOBODY = f"CAST('{NOBODY}' AS uuid)"
SUMMED = "COUNT(*), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0)"
ADD_USAGE = f"""{INTO_USAGE}
    SELECT %s, CAST(day AS date), model_provider, model_name, COALESCE(user_id, {OF_NOBODY}), {SUMMED}
    FROM settled WHERE state = 'settled' GROUP BY 2, 3, 4, 5 ORDER BY 2, 3, 4, 5
    {ADD_TO_USAGE}"""
ADD_EXPERIMENTS = f"""{INTO_EXPERIMENTS}
    SELECT %s, CAST(day AS date), COALESCE(experiment_id, {OF_NOBODY}), {SUMMED}
    FROM settled WHERE state = 'settled' GROUP BY 2, 3 ORDER BY 2, 3
    {ADD_TO_EXPERIMENTS}"""


def add_up(org_id: Any, settled: Iterable[Settled]) -> None:
    """The same for rows that were read. `org_id` as the database keeps it."""
    nobody = NOBODY.hex
    usage: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    experiments: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in settled:
        for sums in (
            usage[org_id, one.day, one.model_provider, one.model_name, one.user_id or nobody],
            experiments[org_id, one.day, one.experiment_id or nobody],
        ):
            sums[0] += 1
            sums[1] += one.input_tokens
            sums[2] += one.output_tokens
    _write(INTO_USAGE, ADD_TO_USAGE, usage)
    _write(INTO_EXPERIMENTS, ADD_TO_EXPERIMENTS, experiments)


def _write(into: str, add: str, rows: dict[tuple[Any, ...], list[int]]) -> None:
    with connection.cursor() as cursor:
        for key, sums in rows.items():
            values = [*key, *sums]
            cursor.execute(f"{into} VALUES ({', '.join(['%s'] * len(values))}) {add}", values)
