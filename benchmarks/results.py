"""How long results and comparisons take, on PostgreSQL and on SQLite, with 10,000 cells in an experiment.

Run: .venv/bin/python -m benchmarks.results [--cells 10000] [--rounds 7] [--databases postgres sqlite]

Two variants, four metrics (two of them 0 or 1, a scale of five, a share) and a thumb for every other cell.
The databases are made for this and dropped; PostgreSQL is where BENCH_POSTGRES says. Printed are the
median and the slowest of the rounds in milliseconds, by the services and over the API with its JSON.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

POSTGRES = os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432/evalsuite_results_benchmark")
METRICS = ("correctness", "harmless", "style", "similarity")
AT_ONCE = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--databases", nargs="+", choices=["postgres", "sqlite"], default=["postgres", "sqlite"]
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        measure(given.cells, given.repeats, given.rounds)
        return
    print(f"{'database':10}  {'what':44}  {'median':>7}  {'slowest':>7}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        urls = {"postgres": POSTGRES, "sqlite": f"sqlite:///{Path(scratch) / 'results.sqlite3'}"}
        for name in given.databases:
            options = ["--here", "--cells", given.cells, "--rounds", given.rounds, "--repeats", given.repeats]
            subprocess.run(
                [sys.executable, "-m", "benchmarks.results", *map(str, options)],
                env={**os.environ, "DEBUG": "1", "ALLOWED_HOSTS": "testserver", "DATABASE_URL": urls[name]},
                check=True,
            )


def measure(cells: int, repeats: int, rounds: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "evalsuite.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.test.utils import setup_databases, teardown_databases

    settings.DEBUG = False  # or every query is kept in memory
    made = setup_databases(verbosity=0, interactive=False)
    try:
        for what, call in calls(*fill(cells, repeats)):
            call()  # statistics of the database, compiled queries
            took = [timed(call) for _ in range(rounds)]
            print(
                f"{connection.vendor:10}  {what:44}  {statistics.median(took):5.0f} ms  {max(took):5.0f} ms",
                flush=True,
            )
    finally:
        teardown_databases(made, verbosity=0)


def timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def fill(cells: int, repeats: int) -> tuple[Any, Any, Any]:
    """The experiment, its one batch, and the owner of its org."""
    from django.db import connection

    from evalsuite.orgs.models import Membership, Org, User
    from experiments.models import Batch, EvalMetricDefinition, Experiment, ExperimentInput

    org = Org.objects.create(name="Benchmark", slug="benchmark")
    user = User.objects.create(username="bench")
    Membership.objects.create(org=org, user=user, role="owner")
    experiment = Experiment.objects.create(org=org, name="Benchmark")
    variants = [experiment.variants.create(name=name) for name in ("short", "long")]
    inputs = ExperimentInput.objects.bulk_create(
        [
            ExperimentInput(experiment=experiment, key=f"case_{n}", content=f"Input {n}. " * 40)
            for n in range(cells // 2 // repeats)
        ],
        batch_size=AT_ONCE,
    )
    metrics = [EvalMetricDefinition.objects.create(org=org, key=key, name=key) for key in METRICS]
    batch = Batch.objects.create(experiment=experiment, total=cells, state="finished", repeats=repeats)
    _fill_cells(batch, variants, inputs, metrics, user)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return experiment, batch, user


def _fill_cells(batch: Any, variants: Any, inputs: Any, metrics: Any, user: Any) -> None:
    from experiments.models import EvalScore, ExperimentRun, Thumb

    chance = random.Random(1)
    runs = [
        ExperimentRun(
            experiment=batch.experiment,
            batch=batch,
            variant=variant,
            input=row,
            repeat=repeat + 1,
            position=0,
            state="succeeded",
            model_provider="ollama",
            model_name="tiny",
            temperature=0.7,
            top_p=1.0,
            output="An answer of some length. " * 20,
            messages=[{"role": "user", "content": row.content}],
            snapshot={"inputKey": row.key, "content": row.content, "expected": None},
            latency_ms=chance.randint(100, 5_000),
            input_tokens=100,
            output_tokens=chance.randint(10, 300),
        )
        for row in inputs
        for repeat in range(batch.repeats)
        for variant in variants
    ]
    ExperimentRun.objects.bulk_create(runs, batch_size=AT_ONCE)
    draws: list[Callable[[], float]] = [
        lambda: float(chance.random() < 0.8),
        lambda: float(chance.random() < 0.95),
        lambda: float(chance.randint(1, 5)),
        chance.random,
    ]
    scores = (
        EvalScore(run=run, metric=m, value=d()) for run in runs for m, d in zip(metrics, draws, strict=True)
    )
    EvalScore.objects.bulk_create(scores, batch_size=AT_ONCE)
    thumbs = (Thumb(run=run, rater=user, up=chance.random() < 0.7) for run in runs[::2] + runs[1::4])
    Thumb.objects.bulk_create(thumbs, batch_size=AT_ONCE)


def calls(experiment: Any, batch: Any, user: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    from rest_framework.test import APIClient

    from experiments.services import comparison, results
    from experiments.services.comparison import Side
    from experiments.services.figures import Measure

    first, second = experiment.variants.order_by("id")
    sides: Any = {"baseline": Side(first, batch), "candidate": Side(second, batch)}
    api = APIClient()
    api.force_authenticate(user)
    similarity = Measure.of(experiment.org.metrics.get(key="similarity"))
    root = f"/api/v1/orgs/{experiment.org_id}/experiments/{experiment.pk}"
    ask = f"{root}/comparison?baseline={first.pk}&candidate={second.pk}"

    def get(url: str) -> None:
        answer = api.get(url)
        if answer.status_code != 200:
            raise RuntimeError(answer.content)

    yield "results, all variants", lambda: results.results_of(experiment)
    yield "results over the API", lambda: get(f"{root}/results")
    for key in ("correctness", "similarity", "latency"):
        yield (
            f"comparison, {key}",
            lambda key=key: comparison.compare_metrics(  # type: ignore[misc]
                experiment, **sides, metric_keys=[key]
            ),
        )
    yield "comparison, all metrics", lambda: comparison.compare_metrics(experiment, **sides)
    yield (
        "one metric by input, and all beside it",
        lambda: comparison.overview(experiment, **sides, measure=similarity),
    )
    yield "comparison over the API, correctness", lambda: get(f"{ask}&metric=correctness&batch={batch.pk}")
    yield "comparison over the API, all, one batch", lambda: get(f"{ask}&batch={batch.pk}")
    yield "comparison over the API, all, all batches", lambda: get(ask)


if __name__ == "__main__":
    main()
