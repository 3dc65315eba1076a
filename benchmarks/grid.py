"""How long pages of results take on PostgreSQL, with 10,000 cells in a batch.

Run: .venv/bin/python -m benchmarks.grid [--cells 10000] [--rounds 7]

The data are those of `benchmarks.results`: two variants, four metrics on every cell, many thumbs. The
database is made for this and dropped; it is where BENCH_POSTGRES says. Printed are the fastest and the
median of the rounds in milliseconds, from the request to the whole page, and the time of the processor
that Python had of it: on a machine that others use, the fastest round says most about the product.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

PART = {"hx-request": "true", "hx-target": "results-view"}
QUERIES = {
    "grid, in the order of the inputs": "",
    "grid, its last page": "?page=1000000",
    "grid, failed cells": "?state=failed",
    "grid, thumbs up": "?thumb=up",
    "grid, a score from 4 to 5": "?metric=style&from=4&to=5",
    "grid, where A and B differ": "?differ=1",
    "grid, by disagreement": "?sort=disagreement&metric=style",
    "grid, by loss": "?sort=loss&metric=correctness",
    "grid, by loss of latency": "?sort=loss&metric=latency",
    "grid, everything at once": "?state=succeeded&thumb=up&metric=style&from=2&differ=1&sort=loss",
    "list": "?view=list",
    "charts": "?view=charts",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    from benchmarks.results import POSTGRES

    os.environ.update(
        DJANGO_SETTINGS_MODULE="evalsuite.settings",
        DEBUG="1",
        ALLOWED_HOSTS="testserver",
        DATABASE_URL=POSTGRES.replace("results_benchmark", "grid_benchmark"),
    )
    import django

    django.setup()
    from django.conf import settings
    from django.test.utils import setup_databases, teardown_databases

    settings.DEBUG = False  # or every query is kept in memory
    made = setup_databases(verbosity=0, interactive=False)
    try:
        measure(given.cells, given.rounds)
    finally:
        teardown_databases(made, verbosity=0)


def measure(cells: int, rounds: int) -> None:
    from django.test import Client

    from benchmarks.results import fill

    experiment, _, user = fill(cells, 1)
    client = Client()
    client.force_login(user)
    page = f"/app/orgs/{experiment.org_id}/experiments/{experiment.pk}"
    print(
        f"{'what':34}  {'fastest':>7}  {'median':>7}  {'Python':>7}  load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    for what, query in QUERIES.items():
        tell(what, client, page + query, rounds, PART)
    tell("the whole page", client, page, rounds, {})
    tell("comparison", client, f"{page}/comparison?metric=correctness", rounds, {})


def tell(what: str, client: Any, url: str, rounds: int, headers: dict[str, str]) -> None:
    took, cpu = [], []
    for _ in range(rounds + 1):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        answer = client.get(url, headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(answer.content)
        took.append((time.perf_counter() - begin) * 1000)
        cpu.append((time.process_time() - begin_cpu) * 1000)
    took, cpu = took[1:], cpu[1:]  # the first one compiles templates
    figures = f"{min(took):7.0f}  {statistics.median(took):7.0f}  {statistics.median(cpu):7.0f}"
    print(f"{what:34}  {figures}", flush=True)


if __name__ == "__main__":
    main()
