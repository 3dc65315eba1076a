"""How long every page and list takes until its first byte, and how many queries it asks, small and large.

Run: .venv/bin/python -m benchmarks.pages --small URL --big URL [--rounds 20] [--only PATTERN] [--claims]

The URLs name two databases with test data of different sizes, one at least with what `load_test_data` makes:

    DATABASE_URL=$SMALL manage.py load_test_data --experiments 201 --empty 100 --cells 10000 --largest 100
    DATABASE_URL=$BIG   manage.py load_test_data

Pages are asked for over HTTP, from one web process as it is deployed, one after the other, by the owner of
the org and of an experiment that is as large in both databases (`--largest`: of the largest one). Queries
are counted in this process. Printed are for each route: queries, and milliseconds to the first byte of the
answer's body (median and p95 of the rounds, and how the medians compare).
Targets: p95 at most 300 ms, the ratio at most 1.5, at most 15 queries and no more with more rows.

`--claims` instead claims the cells of a batch of 10,000, of an experiment of its own that is deleted again,
and compares the rates: at least 90 %. The databases take turns, a fresh process and a batch each, `--rounds`
times; which one goes first changes, and the first turn of each does not count. On PostgreSQL each turn
begins behind a VACUUM (ANALYZE) of the cells, so that none reads what earlier ones have left, and a
CHECKPOINT, so that none pays for what was written before. For that the small one may be empty but for the
org.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import REDIS, free_port, process, production, until_it_answers

TARGET_MS, TARGET_RATIO, TARGET_QUERIES, TARGET_CLAIMS = 300, 1.5, 15, 0.9
FAST_MS = 20  # below this a ratio tells more of the machine than of the rows
WARM_UP = 2
CLAIM_CELLS, CLAIM_AT_ONCE = 10_000, 16


@dataclass(frozen=True)
class Figure:
    status: int
    queries: int
    median_ms: float
    p95_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", required=True, metavar="URL")
    parser.add_argument("--big", required=True, metavar="URL")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slug", default="loadtest", help="of the org")
    parser.add_argument("--only", default="", metavar="PATTERN", help="routes whose names it is found in")
    parser.add_argument(
        "--largest", action="store_true", help="of the largest experiment, not of a usual one"
    )
    parser.add_argument("--claims", action="store_true")
    parser.add_argument("--here", choices=["pages", "claims"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here == "pages":
        print(json.dumps({name: vars(one) for name, one in measure(given)}))
    elif given.here == "claims":
        print(json.dumps(claim_rate(given.slug)))
    elif given.claims:
        compare_claims(given)
    else:
        compare(elsewhere(given.small, "pages"), elsewhere(given.big, "pages"))


def elsewhere(url: str, what: str) -> Any:
    """Run this program on one database."""
    command = [sys.executable, "-m", "benchmarks.pages", *sys.argv[1:], "--here", what]
    with tempfile.TemporaryDirectory() as folder:
        settings = {**production(folder, ""), "ALLOWED_HOSTS": "127.0.0.1,testserver", "LOG_LEVEL": "ERROR"}
        settings |= {"DATABASE_URL": url, "BROKER_URL": REDIS, "REDIS_URL": REDIS, "DATABASE_POOL_SIZE": "8"}
        if url.startswith("sqlite"):
            del settings["DATABASE_POOL_SIZE"]
        env = {**os.environ, **settings}
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def compare(small: dict[str, Any], big: dict[str, Any]) -> None:
    width = max(map(len, big))
    print(f"{'':{width}}  queries  small ms       big ms         ratio")
    missed = 0
    for name, after in big.items():
        before = small[name]
        ratio = after["median_ms"] / max(before["median_ms"], FAST_MS)
        problems = [
            word
            for word, wrong in (
                (f"status {after['status']}", after["status"] != 200),
                ("queries", after["queries"] > min(TARGET_QUERIES, before["queries"])),
                ("p95", after["p95_ms"] > TARGET_MS),
                ("ratio", ratio > TARGET_RATIO),
            )
            if wrong
        ]
        missed += bool(problems)
        times = "  ".join(f"{one['median_ms']:6.0f}{one['p95_ms']:7.0f}" for one in (before, after))
        queries = f"{before['queries']:3}{after['queries']:4}"
        print(f"{name:{width}}  {queries}  {times}  {ratio:5.2f}  {', '.join(problems) or 'ok'}")
    print(f"{len(big)} routes, {missed} of them beside a target")


def measure(given: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "evalsuite.settings"
    import django

    django.setup()
    from django.test import Client

    from benchmarks.routes import measured, words_of
    from evalsuite.orgs.models import Org
    from experiments.models import Experiment

    org = Org.objects.get(slug=given.slug)
    newest = Experiment.objects.for_org(org).order_by("-id")
    words = words_of(newest[0] if given.largest else newest[1])
    client = Client()
    client.force_login(org.memberships.order_by("id")[0].user)
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    routes = [route for route in measured(words) if re.search(given.only, route.name)]
    with web_process() as port:
        for route in routes:
            status, took = 0, []
            for _ in range(WARM_UP + given.rounds):
                status, ms = first_byte(port, route.url, cookie)
                took.append(ms)
            took = sorted(took[WARM_UP:])
            p95 = took[min(len(took) - 1, int(len(took) * 0.95))]
            yield route.name, Figure(status, queries_of(client, route.url), statistics.median(took), p95)


@contextlib.contextmanager
def web_process() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "evalsuite.asgi:application", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--lifespan", "off", "--no-access-log", "--log-level", "error"]
    with tempfile.TemporaryDirectory() as folder, process(command, {}, output=Path(folder) / "web.log"):
        until_it_answers(f"http://127.0.0.1:{port}/healthz")
        yield port


def first_byte(port: int, url: str, cookie: str) -> tuple[int, float]:
    """Status, and milliseconds from the request to the first byte of the body. All of it is read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begin = time.perf_counter()
    connection.request("GET", url, headers={"Cookie": cookie, "Accept": "*/*"})
    answer = connection.getresponse()
    answer.read(1)
    took = (time.perf_counter() - begin) * 1000
    answer.read()
    connection.close()
    return answer.status, took


def queries_of(client: Any, url: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as asked:
        answer = client.get(url)
        if answer.streaming:
            b"".join(answer)
    return len(asked)


def compare_claims(given: argparse.Namespace) -> None:
    urls = {"small": given.small, "big": given.big}
    rates: dict[str, list[float]] = {"small": [], "big": []}
    for turn in range(given.rounds + 1):
        for name in sorted(urls, reverse=turn % 2 == 0):
            rate = elsewhere(urls[name], "claims")
            if turn:
                rates[name].append(rate)
                print(f"round {turn:2}  {name:5}  {rate:6.0f} cells/s", flush=True)
    shares = [big / small for small, big in zip(rates["small"], rates["big"], strict=True)]
    share = statistics.median(rates["big"]) / statistics.median(rates["small"])
    for name, seen in rates.items():
        print(f"{name:5}  median {statistics.median(seen):.0f} cells/s, {min(seen):.0f} to {max(seen):.0f}")
    print(
        f"big to small: {share:.2f} of the medians, {statistics.median(shares):.2f} the median of the pairs"
    )
    print("ok" if share >= TARGET_CLAIMS else "too slow")


def claim_rate(slug: str) -> float:
    """Cells per second that one worker claims from a fresh batch, each claim committed as in earnest."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "evalsuite.settings"
    import django

    django.setup()
    from django.conf import settings

    from evalsuite.orgs.models import Org

    settings.DEBUG = False  # or every query is kept in memory
    return _claim_all(Org.objects.get(slug=slug))


def _settle() -> None:
    from django.db import connection

    from experiments.models import ExperimentRun

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM (ANALYZE) {ExperimentRun._meta.db_table}")
            cursor.execute("CHECKPOINT")


def _claim_all(org: Any) -> float:
    """The experiment that is claimed from is deleted again."""
    from unittest import mock

    from experiments.models import ExperimentInput
    from experiments.services import authoring, claiming, permits, planning, steering

    author = org.memberships.order_by("id")[0].user
    experiment = authoring.create_experiment(org=org, author=author, name="Claims")
    authoring.create_variant(experiment=experiment, author=author, name="Plain", config={})
    rows = (
        ExperimentInput(experiment=experiment, key=f"case_{n}", content="Hello") for n in range(CLAIM_CELLS)
    )
    ExperimentInput.objects.bulk_create(rows, batch_size=1_000)
    with mock.patch.object(permits, "hand_out"):
        batch = planning.start_batch(experiment=experiment, author=author)
    _settle()
    [group] = claiming.groups(batch.pk)
    claimed, begin = [], time.perf_counter()
    while taken := claiming.claim(batch, group, CLAIM_AT_ONCE, "benchmark").cells:
        claimed += taken
    seconds = time.perf_counter() - begin
    claiming.hand_back(batch.pk, claimed)
    steering.cancel(batch, actor=author)
    authoring.delete_experiment(experiment, actor=author)
    if len(claimed) != CLAIM_CELLS:
        raise SystemExit(f"{len(claimed)} cells were claimed in place of {CLAIM_CELLS}")
    return CLAIM_CELLS / seconds


if __name__ == "__main__":
    main()
