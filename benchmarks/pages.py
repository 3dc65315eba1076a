"""How long every page and list takes until its first byte, and how many queries it asks, small and large.

Run: .venv/bin/python -m benchmarks.pages --small URL --big URL [--rounds 20] [--only PATTERN] [--claims]

The URLs name two databases with test data of different sizes, one at least with what `load_test_data` makes:

    DATABASE_URL=$SMALL manage.py load_test_data --experiments 201 --empty 100 --cells 10000 --largest 100
    DATABASE_URL=$BIG   manage.py load_test_data

Pages are asked for over HTTP, from a web process of each database as it is deployed, in turns, so that both
see the machine alike, by the owner of the org and of an experiment that is as large in both databases
(`--largest`: of the largest one). Printed are for each route: queries, and milliseconds to the first byte of
the answer's body (median and p95 of the rounds, and how the medians compare).
Targets: p95 at most 300 ms, the ratio at most 1.5, at most 15 queries and no more with more rows.

`--admin` asks for the lists of the admin instead, searched, sorted and paged where they are long, as a
superuser or as somebody on the staff who owns the org.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import REDIS, free_port, process, production, until_it_answers
from benchmarks.routes import Route, admin_lists, measured, words_of

TARGET_MS, TARGET_RATIO, TARGET_QUERIES, TARGET_CLAIMS = 300, 1.5, 15, 0.9
WARM_UP = 2
CLAIM_CELLS, CLAIM_AT_ONCE = 10_000, 16


@dataclass(frozen=True)
class Page:
    """A page or a list of one database. `queries` are those that it asks."""

    name: str
    url: str
    queries: int


@dataclass(frozen=True)
class Site:
    """A web process of one database, and what its owner asks it for."""

    port: int
    cookie: str
    pages: list[Page]


@dataclass(frozen=True)
class Times:
    """Of one route, in milliseconds, with the status of the last answer."""

    status: int
    median: float
    p95: float


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
    parser.add_argument(
        "--admin", choices=["superuser", "curator"], help="the admin's lists, of all orgs or one"
    )
    parser.add_argument("--claims", action="store_true")
    parser.add_argument("--here", choices=["pages", "claims"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here == "pages":
        print(json.dumps(to_ask(given)))
    elif given.here == "claims":
        print(json.dumps(claim_rate(given.slug)))
    elif given.claims:
        compare_claims(given)
    else:
        compare_pages(given)


@contextlib.contextmanager
def deployed(url: str) -> Iterator[dict[str, str]]:
    """The settings of a deployment with this database."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {**production(folder, ""), "ALLOWED_HOSTS": "127.0.0.1,testserver", "LOG_LEVEL": "ERROR"}
        settings |= {"DATABASE_URL": url, "BROKER_URL": REDIS, "REDIS_URL": REDIS}
        if not url.startswith("sqlite"):
            settings["DATABASE_POOL_SIZE"] = "8"
        yield settings


def elsewhere(settings: dict[str, str], what: str) -> Any:
    """Run this program in a process with these settings."""
    command = [sys.executable, "-m", "benchmarks.pages", *sys.argv[1:], "--here", what]
    done = subprocess.run(command, env={**os.environ, **settings}, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def to_ask(given: argparse.Namespace) -> Any:
    """The cookie of whoever asks, and the routes."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "evalsuite.settings"
    import django

    django.setup()
    from django.test import Client

    from evalsuite.orgs.models import Org

    org = Org.objects.get(slug=given.slug)
    asker, routes = of_admin(org, given.admin) if given.admin else of_console(org, given)
    client = Client()
    client.force_login(asker)
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    asked = [route for route in routes if re.search(given.only, route.name)]
    return cookie, [(route.name, route.url, queries_of(client, route.url)) for route in asked]


def of_console(org: Any, given: argparse.Namespace) -> tuple[Any, list[Route]]:
    from experiments.models import Experiment

    newest = Experiment.objects.for_org(org).order_by("-id")
    # A list of failed cells asks more where there is one, so both databases have some.
    chosen = newest[0] if given.largest else next(filter(has_failed_cells, newest[1:].iterator()))
    return org.memberships.order_by("id")[0].user, list(measured(words_of(chosen)))


def of_admin(org: Any, role: str) -> tuple[Any, list[Route]]:
    """The account is made where it is missing; nobody can sign in with it."""
    from django.contrib.auth.hashers import make_password

    from evalsuite.orgs.models import User

    asker, _ = User.objects.get_or_create(
        username=f"benchmark-{role}",
        defaults={
            "password": make_password(None),
            "is_staff": True,
            "is_superuser": role == "superuser",
        },
    )
    if role == "curator":
        org.memberships.get_or_create(user=asker, defaults={"role": "owner"})
    return asker, list(admin_lists())


def has_failed_cells(experiment: Any) -> bool:
    return bool(experiment.batches.first().runs.filter(state="failed").exists())


def compare_pages(given: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        small, big = (stack.enter_context(site(url)) for url in (given.small, given.big))
        width = max(len(page.name) for page in big.pages)
        print(f"{'':{width}}  queries  small ms         big ms           ratio")
        missed = 0
        for before, after in zip(small.pages, big.pages, strict=True):
            times = in_turns([(small, before), (big, after)], given.rounds)
            ratio = times[1].median / times[0].median
            problems = [
                word
                for word, wrong in (
                    (f"status {times[1].status}", times[1].status != 200),
                    ("queries", after.queries > min(TARGET_QUERIES, before.queries)),
                    ("p95", times[1].p95 > TARGET_MS),
                    ("ratio", ratio > TARGET_RATIO),
                )
                if wrong
            ]
            missed += bool(problems)
            took = "  ".join(f"{one.median:7.1f}{one.p95:8.1f}" for one in times)
            queries = f"{before.queries:3}{after.queries:4}"
            print(f"{after.name:{width}}  {queries}  {took}  {ratio:5.2f}  {', '.join(problems) or 'ok'}")
    print(f"{len(big.pages)} routes, {missed} of them beside a target")


@contextlib.contextmanager
def site(url: str) -> Iterator[Site]:
    with deployed(url) as settings:
        cookie, pages = elsewhere(settings, "pages")
        with web_process(settings) as port:
            yield Site(port, cookie, [Page(*page) for page in pages])


def in_turns(asked: Sequence[tuple[Site, Page]], rounds: int) -> list[Times]:
    """Each page is asked for once a round, and each round begins with another one."""
    took: list[list[float]] = [[] for _ in asked]
    statuses = [0] * len(asked)
    for turn in range(WARM_UP + rounds):
        for number in sorted(range(len(asked)), reverse=bool(turn % 2)):
            at, page = asked[number]
            statuses[number], ms = first_byte(at, page)
            if turn >= WARM_UP:
                took[number].append(ms)
    return [
        Times(status, statistics.median(one), sorted(one)[min(len(one) - 1, int(len(one) * 0.95))])
        for status, one in zip(statuses, took, strict=True)
    ]


@contextlib.contextmanager
def web_process(settings: dict[str, str]) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "evalsuite.asgi:application", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--lifespan", "off", "--no-access-log", "--log-level", "error"]
    output = Path(settings["DATA_DIR"]) / "web.log"
    with process(command, settings, output=output):
        until_it_answers(f"http://127.0.0.1:{port}/healthz")
        yield port


def first_byte(at: Site, page: Page) -> tuple[int, float]:
    """Status, and milliseconds from the request to the first byte of the body. All of it is read."""
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=60)
    begin = time.perf_counter()
    connection.request("GET", page.url, headers={"Cookie": at.cookie, "Accept": "*/*"})
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
            with deployed(urls[name]) as settings:
                rate = elsewhere(settings, "claims")
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
