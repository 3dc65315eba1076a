"""How much later than at the provider tokens arrive, with many playground streams open at once.

Run: .venv/bin/python -m benchmarks.stream_overhead [--streams 1 50 100] [--stack embedded|server]

The product is `manage.py serve`, one process with production settings, as `benchmarks.engine` starts it.
The model server is a process of its own that stamps each token. So many streams are always open: where one
has ended the next begins. Meanwhile another connection reads pages one by one, unless --no-pages is given.

Printed, in milliseconds:
  first    from the POST to the first token, minus the time that the model server took to write it
  token    from the moment at which the server wrote a token to its arrival, of all later ones
  pages    median and p95 of the playground page, the experiments page and the API's list of experiments
  cpu      of the web process, in percent of one core
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from benchmarks import engine
from benchmarks.token_server import PROMPT

PAGES = ("/app/orgs/{org}/playground", "/app/orgs/{org}/experiments", "/api/v1/orgs/{org}/experiments")


@dataclass
class Seen:
    """Milliseconds. `counts` is False while the streams are being opened."""

    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    pages: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    counts: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stack", choices=["embedded", "server"], default="embedded")
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 50, 100])
    parser.add_argument("--rate", type=float, default=20, help="tokens per second of one stream")
    parser.add_argument("--length", type=float, default=8, metavar="SECONDS", help="of one stream")
    parser.add_argument("--first-ms", type=float, default=200, help="of the model server")
    parser.add_argument("--seconds", type=float, default=20, help="measured, after all streams are open")
    parser.add_argument("--no-pages", action="store_true", help="let nobody read pages meanwhile")
    parser.add_argument("--profile", metavar="FILE", help="py-spy record of the web process")
    given = parser.parse_args()
    os.environ["LIMIT_PLAYGROUND_PER_MINUTE"] = "1000000"
    with model_server(given) as model, engine.product(given.stack, model, 512) as site:
        for streams in given.streams:
            seen = Seen()
            with engine.profiler(given.profile, site.pids[0]):
                cpu = asyncio.run(measure(site, streams, given, seen))
            tell(streams, seen, cpu)


@contextmanager
def model_server(given: argparse.Namespace) -> Iterator[str]:
    port = engine.free_port()
    figures = [str(given.first_ms), str(given.rate), str(round(given.rate * given.length))]
    with engine.process([sys.executable, "-m", "benchmarks.token_server", str(port), *figures], {}):
        url = f"http://127.0.0.1:{port}"
        engine.until_it_answers(f"{url}/api/version")
        yield url


def tell(streams: int, seen: Seen, cpu: float) -> None:
    print(f"{streams} streams, web process at {cpu * 100:.0f} % of a core", flush=True)
    figures = {"first token": seen.first, "later tokens": seen.later, **seen.pages}
    for name, values in figures.items():
        print(f"  {name:22} {in_short(values)}", flush=True)
    if seen.failures:
        print(f"  {len(seen.failures)} failures, such as: {seen.failures[0]}", flush=True)


def in_short(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "too few"
    ordered = sorted(values)
    p95 = ordered[int(len(ordered) * 0.95)]
    middle = statistics.median(ordered)
    return f"median {middle:6.1f}  p95 {p95:6.1f}  max {ordered[-1]:6.1f}  n {len(ordered)}"


async def measure(site: engine.Site, streams: int, given: argparse.Namespace, seen: Seen) -> float:
    """Cores that the product used while it was measured."""
    stop = asyncio.Event()
    waits = [given.length * number / streams for number in range(streams)]
    tasks = [asyncio.create_task(keep_open(site, wait, seen, stop)) for wait in waits]
    await asyncio.sleep(given.length + 1)
    seen.counts = True
    cpu, begin = site.cpu_s(), time.monotonic()
    if given.no_pages:
        await asyncio.sleep(given.seconds)
    else:
        await asyncio.to_thread(read_pages, site, begin + given.seconds, seen)
    used = (site.cpu_s() - cpu) / (time.monotonic() - begin)
    seen.counts = False
    stop.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return used


async def keep_open(site: engine.Site, wait_s: float, seen: Seen, stop: asyncio.Event) -> None:
    await asyncio.sleep(wait_s)
    while not stop.is_set():
        try:
            await one_stream(site, seen)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.failures.append(repr(error))
            await asyncio.sleep(0.5)


async def one_stream(site: engine.Site, seen: Seen) -> None:
    address = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        body = json.dumps({"prompt": PROMPT.decode()}).encode()
        head = (
            f"POST /api/v1/orgs/{site.org}/playground/stream HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: {site.session.headers['Authorization']!s}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        counts, sent = seen.counts, time.monotonic()
        writer.write(head.encode() + body)
        is_first = True
        while line := await reader.readline():
            now = time.monotonic()
            if line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                raise OSError(f"refused: {line!r}")
            if not line.startswith(b'data: {"content"'):
                continue
            came, written = map(float, json.loads(line[6:])["content"].split()[:2])
            if is_first and counts:
                seen.first.append((now - sent - (written - came)) * 1000)
            elif seen.counts:
                seen.later.append((now - written) * 1000)
            is_first = False
    finally:
        writer.close()


def read_pages(site: engine.Site, until: float, seen: Seen) -> None:
    browser = signed_in(site)
    while time.monotonic() < until:
        for page in PAGES:
            begin = time.monotonic()
            answer = browser.get(site.url + page.format(org=site.org), timeout=30)
            answer.raise_for_status()
            name = page.partition("{org}/")[2] + (" (API)" if page.startswith("/api") else "")
            seen.pages.setdefault(name, []).append((time.monotonic() - begin) * 1000)
            time.sleep(0.05)


def signed_in(site: engine.Site) -> requests.Session:
    """A browser's session; the API takes its cookie as well."""
    browser = requests.Session()
    browser.get(f"{site.url}/login", timeout=30)
    token = browser.cookies["csrftoken"]
    form = {"username": "admin", "password": site.password, "csrfmiddlewaretoken": token}
    browser.post(f"{site.url}/login", data=form, timeout=30).raise_for_status()
    return browser


if __name__ == "__main__":
    main()
