"""Whether pages stay quick while many people read them, a batch runs and streams are open.

Run: .venv/bin/python -m benchmarks.console_users --database URL [--users 200] [--think 5] [--minutes 10]

The database is on PostgreSQL and has test data (`manage.py load_test_data`), whose members are the users.
Redis is where BENCH_REDIS says. Started are the parts as they are deployed, with production settings: web
processes (`--web`), a Celery worker with two processes, and two scripted model servers. Then a batch of
`--cells` cells is run, which lasts about as long as the measuring, `--streams` playground streams are kept
open, and every user loads a page, reads for about `--think` seconds, and loads the next one.

This process is the one that asks; it takes processor time from the others where they share a machine.
Printed are for each page: answers by status, and p50, p95 and the slowest in milliseconds, from the request
to the whole answer; the same for each minute, so that a drift shows. Targets: no answer of 500 or more, p95
at most 500 ms. The experiment, its runs and the sessions of the streams stay in the database.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import token_server
from benchmarks.engine import REDIS, free_port, process, production, until_it_answers
from benchmarks.provider import MODEL
from benchmarks.routes import measured, words_of

TARGET_MS = 500
LOAD = "Load of"  # how the experiments begin whose batches run while measuring
PARALLEL = 16
STREAM_RATE, STREAM_S = 2, 30  # tokens a second, and how long one stream lasts
# What people look at, by the beginning of a route's name, and how often.
HABITS = {
    "app/experiments": 20,
    "app/experiments/{experiment}": 15,
    "app/experiments/{experiment}?view=list": 8,
    "app/experiments/{experiment}?view=charts": 4,
    "app/experiments/{experiment}/comparison": 4,
    "app/experiments/{experiment}/review": 4,
    "app/experiments/batches/{batch}": 10,
    "app/experiments/runs/{run}": 15,
    "app/metrics": 3,
    "app/playground": 8,
    "app/playground/history": 3,
    "app/profiles": 2,
    "app/models": 2,
    "api/v1/experiments?nested=false": 4,
    "api/v1/experiments/{experiment}/runs": 4,
    "api/v1/experiments/{experiment}/results": 4,
}
OF_OWNERS = {"app/audit": 4, "app/usage": 2}


@dataclass
class Seen:
    """By page: milliseconds and statuses."""

    begin: float = 0.0  # of the measuring
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    by_minute: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    streams: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Site:
    port: int
    cookies: list[str]  # of the members; the first one is the owner
    pages: dict[str, list[str]]  # addresses by page
    org: str
    batch: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--database", required=True, metavar="URL")
    parser.add_argument("--slug", default="loadtest", help="of the org")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--think", type=float, default=5, metavar="SECONDS")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--web", type=int, default=1, help="web processes")
    given = parser.parse_args()
    seen = Seen()
    with ExitStack() as parts:
        folder = parts.enter_context(tempfile.TemporaryDirectory())
        latency_ms = given.minutes * 60_000 * 0.9 * PARALLEL / max(1, given.cells)
        cells_url = parts.enter_context(model_server("benchmarks.provider", latency_ms))
        figures = (500, STREAM_RATE, STREAM_RATE * STREAM_S)
        talk_url = parts.enter_context(model_server("benchmarks.token_server", *figures))
        env = production(folder, "") | {
            "DATABASE_URL": given.database,
            "BROKER_URL": REDIS,
            "REDIS_URL": REDIS,
            "BROKER_KEY_PREFIX": f"console-users-{os.getpid()}:",
            "DATABASE_POOL_SIZE": "20",
            "PRIVATE_PROVIDER_NETWORKS": "127.0.0.0/8",
            "LIMIT_PLAYGROUND_PER_MINUTE": "1000000",
        }
        os.environ.update(env, DJANGO_SETTINGS_MODULE="evalsuite.settings")
        site = prepare(given, cells_url, talk_url)
        logs = Path(folder)
        parts.enter_context(deployed(env, site.port, given.web, logs))
        asyncio.run(measure(given, site, seen))
        tell(given, site, seen)
        problems = [
            line for log in logs.glob("*.log") for line in log.read_text().splitlines() if "ERROR" in line
        ]
        for line in problems[:5]:
            print(f"log: {line[:300]}")


@contextlib.contextmanager
def model_server(module: str, *figures: float) -> Iterator[str]:
    port = free_port()
    with process([sys.executable, "-m", module, str(port), *map(str, figures)], {}):
        url = f"http://127.0.0.1:{port}"
        until_it_answers(f"{url}/api/version")
        yield url


@contextlib.contextmanager
def deployed(env: dict[str, str], port: int, web: int, logs: Path) -> Iterator[None]:
    uvicorn = [sys.executable, "-m", "uvicorn", "evalsuite.asgi:application", "--host", "127.0.0.1"]
    uvicorn += ["--port", str(port), "--lifespan", "off", "--no-access-log", "--no-server-header"]
    uvicorn += ["--workers", str(web)] if web > 1 else []
    celery = [sys.executable, "-m", "celery", "-A", "evalsuite", "worker", "-c", "2", "-l", "WARNING"]
    with (
        process(uvicorn, env, output=logs / "web.log"),
        process(celery, env, output=logs / "worker.log"),
    ):
        try:
            until_it_answers(f"http://127.0.0.1:{port}/healthz")
        except OSError:
            raise SystemExit((logs / "web.log").read_text()) from None
        yield


def prepare(given: argparse.Namespace, cells_url: str, talk_url: str) -> Site:
    """Models, sessions, and the batch with its experiment; workers begin it when they are there."""
    import django

    django.setup()
    from django.test import Client

    from evalsuite.orgs.models import Org
    from experiments.models import Experiment
    from experiments.services import authoring, planning

    org = Org.objects.get(slug=given.slug)
    owner = org.memberships.order_by("id")[0].user
    there = Experiment.objects.for_org(org).exclude(batches=None).exclude(name__startswith=LOAD)
    usual = [words_of(one) for one in there.order_by("-id")[1:21]]
    name = f"{LOAD} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    offer(org, "scripted", cells_url, MODEL)
    offer(org, "talking", talk_url, token_server.MODEL)
    experiment = authoring.create_experiment(org=org, author=owner, name=name)
    config = {"modelProvider": "scripted", "modelName": MODEL}
    authoring.create_variant(experiment=experiment, author=owner, name="plain", config=config)
    rows = [{"key": f"case_{n}", "content": f"Is review {n} positive?"} for n in range(given.cells)]
    authoring.add_inputs(experiment=experiment, author=owner, rows=rows)
    batch = planning.start_batch(experiment=experiment, author=owner, parallel=PARALLEL)
    cookies = []
    for member in org.memberships.select_related("user").order_by("id")[: given.users]:
        client = Client()
        client.force_login(member.user)
        cookies.append(f"sessionid={client.cookies['sessionid'].value}")
    pages: dict[str, list[str]] = defaultdict(list)
    for words in usual:
        for route in measured(words):
            if route.name in HABITS or route.name in OF_OWNERS:
                pages[route.name].append(route.url)
    live = f"/app/orgs/{org.pk}/experiments/{experiment.pk}"
    pages["app/experiments/{experiment}"].append(live)
    pages["app/experiments/batches/{batch}"].append(f"/app/orgs/{org.pk}/experiments/batches/{batch.pk}")
    return Site(free_port(), cookies, dict(pages), str(org.pk), str(batch.pk))


def offer(org: Any, slug: str, url: str, model: str) -> None:
    from llm_routing.models import Endpoint, Provider, RegisteredModel

    kind = Provider.Kind.OLLAMA
    provider, _ = Provider.objects.get_or_create(org=org, slug=slug, defaults={"name": slug, "kind": kind})
    provider.endpoints.all().delete()
    Endpoint.objects.create(provider=provider, base_url=url, slots=512)
    RegisteredModel.objects.get_or_create(provider=provider, name=model, defaults={"context_tokens": 8192})


async def measure(given: argparse.Namespace, site: Site, seen: Seen) -> None:
    seen.begin = time.perf_counter()
    end = time.monotonic() + given.minutes * 60
    cookies = [site.cookies[number % len(site.cookies)] for number in range(max(given.users, given.streams))]
    talks = [
        keep_talking(site, cookies[n], STREAM_S * n / max(1, given.streams), end, seen)
        for n in range(given.streams)
    ]
    users = [use(site, n, cookies[n], given.think, end, seen) for n in range(given.users)]
    await asyncio.gather(*talks, *users)


async def use(  # noqa: PLR0917 - who, and until when
    site: Site, number: int, cookie: str, think_s: float, end: float, seen: Seen
) -> None:
    """One person: page after page, with a pause of `think_s` on average."""
    chance = random.Random(number)
    habits = HABITS if number else {**HABITS, **OF_OWNERS}
    names, weights = list(habits), list(habits.values())
    await asyncio.sleep(chance.uniform(0, think_s * 2))
    while time.monotonic() < end:
        [name] = chance.choices(names, weights)
        url = chance.choice(site.pages[name])
        begin = time.perf_counter()
        try:
            status = await asyncio.wait_for(get(site.port, url, cookie), 60)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            seen.failures[f"{name}: {type(error).__name__}"] += 1
            status = 599
        took_ms = (time.perf_counter() - begin) * 1000
        seen.took[name].append(took_ms)
        seen.by_minute[int(begin - seen.begin) // 60].append(took_ms)
        seen.statuses[name][status] += 1
        await asyncio.sleep(chance.uniform(0.5, 1.5) * think_s)


async def get(port: int, url: str, cookie: str) -> int:
    """The status, when the answer has come as a whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = (
            f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode())
        line = await reader.readline()
        if not line:
            raise ConnectionError("no answer")
        while await reader.read(65_536):
            pass
        return int(line.split()[1])
    finally:
        writer.close()


async def keep_talking(site: Site, cookie: str, wait_s: float, end: float, seen: Seen) -> None:
    """A stream of the playground is open all the time: where one has ended the next begins."""
    await asyncio.sleep(wait_s)
    while time.monotonic() < end:
        try:
            seen.streams[await asyncio.wait_for(talk(site, cookie), STREAM_S * 4)] += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            seen.streams[type(error).__name__] += 1
            await asyncio.sleep(1)


async def talk(site: Site, cookie: str) -> str:
    """How it ended: the name of the last event, or the status where it was refused."""
    token = "x" * 32
    wanted = {"modelProvider": "talking", "modelName": token_server.MODEL}
    body = json.dumps({"prompt": token_server.PROMPT.decode(), **wanted})
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        writer.write(
            (
                f"POST /api/v1/orgs/{site.org}/playground/stream HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
                f"Cookie: {cookie}; csrftoken={token}\r\nX-CSRFToken: {token}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        status = (await reader.readline()).split()
        event = ""
        while line := await reader.readline():
            if line.startswith(b"event: "):
                event = line[7:].strip().decode()
        return event if status[1:2] == [b"200"] else f"status {status[1:2]}"
    finally:
        writer.close()


def tell(given: argparse.Namespace, site: Site, seen: Seen) -> None:
    from experiments.models import Batch

    print(f"{given.users} users, {given.think:g} s, {given.minutes:g} minutes, {given.web} web processes")
    everything = sorted(value for values in seen.took.values() for value in values)
    failed = 0
    for name in sorted(seen.took):
        failed += sum(number for status, number in seen.statuses[name].items() if status >= 500)
        statuses = ", ".join(f"{number} x {status}" for status, number in sorted(seen.statuses[name].items()))
        print(f"{name:52} {in_short(sorted(seen.took[name]))}  {statuses}")
    print(f"{'all':52} {in_short(everything)}")
    for minute, took in sorted(seen.by_minute.items()):
        print(f"{f'minute {minute + 1}':52} {in_short(sorted(took))}")
    verdict = "ok" if not failed and everything[int(len(everything) * 0.95)] <= TARGET_MS else "missed"
    rate = len(everything) / given.minutes / 60
    print(f"{failed} answers of 500 or more, {rate:.1f} pages a second: {verdict}")
    print(f"streams by their end: {dict(seen.streams)}; failures: {dict(seen.failures)}")
    batch = Batch.objects.with_progress().get(pk=site.batch)
    counts = {name: getattr(batch, name) for name in ("queued", "running", "succeeded", "failed")}
    print(f"batch: {batch.state}, {counts}")


def in_short(ordered: list[float]) -> str:
    p50, p95 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.95))
    return f"n {len(ordered):5}  p50 {p50:6.0f}  p95 {p95:6.0f}  max {ordered[-1]:6.0f}"


if __name__ == "__main__":
    main()
