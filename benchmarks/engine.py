"""How fast the whole product runs a batch: from the POST over Celery and the database to the end.

Run: .venv/bin/python -m benchmarks.engine [--stack embedded|server] [--latency 0 50 200] [--cells 1000]

`embedded` is `manage.py serve` on SQLite. `server` is PostgreSQL, Redis, `manage.py serve` and one
Celery worker with two processes; it needs both servers (BENCH_POSTGRES, BENCH_REDIS; databases of its
own are made and dropped). All with production settings: durable, audited, DEBUG off. The provider is a
process of its own on loopback that answers after a fixed time.

Printed for each latency, as the median of several rounds:
  wall        seconds from the POST to the moment at which the batch has ended, by its own record
  first       milliseconds from the POST to the first result in the database
  makespan    seconds from the first request to the last answer, at the provider
  efficiency  ceil(cells / parallel) x latency / wall, and / makespan
  cpu         milliseconds of CPU for each cell, all our processes together
  rss         peak memory of all our processes together, MB
  bare        wall of requests + threads + one SQLite row for each cell, without any product
"""

from __future__ import annotations

import argparse
import base64
import math
import os
import secrets
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import requests

from benchmarks.provider import MODEL

ROOT = Path(__file__).resolve().parent.parent
POSTGRES = os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/14")
WARM_UP = 2  # batches, for the connections, caches and compiled queries of each worker process
TICKS = os.sysconf("SC_CLK_TCK")


HEAD = (
    "stack     latency  wall s  first ms  makespan s  eff. wall  eff. provider"
    "  cells/s  cpu ms  rss MB  peak  bare s"
)


@dataclass(frozen=True)
class Round:
    wall_s: float
    first_ms: float
    makespan_s: float
    peak: int
    cpu_ms: float  # for each cell
    rss_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stack", nargs="+", choices=["embedded", "server"], default=["embedded", "server"])
    parser.add_argument("--latency", nargs="+", type=float, default=[0, 50, 200], metavar="MS")
    parser.add_argument("--cells", type=int, default=1_000)
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", metavar="FILE", help="py-spy record of the process that does the work")
    given = parser.parse_args()
    print(HEAD)
    for latency in given.latency:
        with provider(latency) as url:
            bare = statistics.median(bare_wall(url, given.cells, given.parallel) for _ in range(given.rounds))
            for stack in given.stack:
                with product(stack, url, given.parallel) as site:
                    site.prepare(given.cells)
                    for _ in range(WARM_UP):
                        site.run(given.parallel)
                    with profiler(given.profile, site.worker_pid):
                        rounds = [site.run(given.parallel) for _ in range(given.rounds)]
                tell(stack, latency, given, rounds, bare)


def tell(stack: str, latency: float, given: argparse.Namespace, rounds: list[Round], bare: float) -> None:
    middle = {
        name: statistics.median(getattr(one, name) for one in rounds) for name in Round.__dataclass_fields__
    }
    ideal = math.ceil(given.cells / given.parallel) * latency / 1000
    print(
        f"{stack:9} {latency:4.0f} ms  {middle['wall_s']:6.2f}  {middle['first_ms']:8.0f}"
        f"  {middle['makespan_s']:10.2f}  {ideal / middle['wall_s']:9.3f}"
        f"  {ideal / middle['makespan_s']:13.3f}"
        f"  {given.cells / middle['wall_s']:7.0f}  {middle['cpu_ms']:6.2f}  {middle['rss_mb']:6.0f}"
        f"  {middle['peak']:4.0f}  {bare:6.2f}",
        flush=True,
    )


@contextmanager
def provider(latency_ms: float) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.provider", str(port), str(latency_ms)]
    with process(command, {}):
        url = f"http://127.0.0.1:{port}"
        until_it_answers(f"{url}/api/version")
        yield url


class Site:
    """The running product, and a caller of its API."""

    def __init__(self, url: str, pids: list[int], provider_url: str, database: str) -> None:
        self.url, self.pids, self.provider_url, self.database = url, pids, provider_url, database
        self.worker_pid = pids[-1]
        self.session = requests.Session()

    def call(self, method: str, path: str, **body: Any) -> Any:
        answer = self.session.request(method, f"{self.url}/api/v1{path}", json=body or None, timeout=120)
        answer.raise_for_status()
        return answer.json()

    def sign_in(self, username: str, password: str) -> None:
        self.password = password
        token = self.call("POST", "/auth/token", username=username, password=password)["access"]
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.org = self.call("GET", "/me")["user"]["orgs"][0]["id"]

    def prepare(self, cells: int) -> None:
        """An experiment with one variant and as many inputs as cells."""
        experiment = self.call("POST", f"/orgs/{self.org}/experiments", name=f"{cells} cells")["experiment"]
        self.path = f"/orgs/{self.org}/experiments/{experiment['id']}"
        self.call("POST", f"{self.path}/variants", name="plain", config={"modelName": MODEL})
        rows = [{"key": f"case_{n}", "content": f"Is this review positive? Number {n}"} for n in range(cells)]
        for start in range(0, cells, 1_000):
            self.call("POST", f"{self.path}/inputs", inputs=rows[start : start + 1_000])

    def run(self, parallel: int) -> Round:
        requests.post(f"{self.provider_url}/reset", timeout=5)
        cpu, begin, begin_utc = self.cpu_s(), time.monotonic(), time.time()
        self.session.headers["Prefer"] = "respond-async"
        answer = self.session.post(
            f"{self.url}/api/v1{self.path}/run", json={"parallel": parallel}, timeout=120
        )
        answer.raise_for_status()
        total = len(answer.json()["runs"])
        batch = f"{self.url}{answer.headers['Location']}"
        while True:  # seldom enough to cost little; the batch's own record tells the moment of its end
            time.sleep(max(0.25, total / 10_000))
            state = self.session.get(batch, timeout=30).json()["batch"]
            if state["finishedAt"]:
                break
        wall_seen = time.monotonic() - begin
        cpu = self.cpu_s() - cpu
        if state["counts"]["succeeded"] != total:
            raise SystemExit(f"not all cells succeeded: {state['counts']}")
        ended, first = self.moments(state["id"])
        stats = requests.get(f"{self.provider_url}/stats", timeout=5).json()
        wall_s = min(ended - begin_utc, wall_seen)
        return Round(
            wall_s=wall_s,
            first_ms=(first - begin_utc) * 1000,
            makespan_s=stats["makespan_s"],
            peak=stats["peak"],
            cpu_ms=cpu / total * 1000,
            rss_mb=self.peak_rss_mb(),
        )

    def moments(self, batch: str) -> tuple[float, float]:
        """When the batch ended and when its first result was written, in seconds of UTC."""
        if self.database.startswith("sqlite"):
            query = (
                "SELECT (julianday(b.finished_at) - 2440587.5) * 86400,"
                " (SELECT MIN((julianday(finished_at) - 2440587.5) * 86400)"
                " FROM experiments_experimentrun WHERE batch_id = b.id)"
                " FROM experiments_batch b WHERE b.id = ?"
            )
            with sqlite3.connect(self.database.removeprefix("sqlite:///")) as connection:
                row = connection.execute(query, (batch.replace("-", ""),)).fetchone()
        else:
            query = (
                "SELECT extract(epoch FROM b.finished_at), (SELECT extract(epoch FROM min(finished_at))"
                " FROM experiments_experimentrun WHERE batch_id = b.id)"
                " FROM experiments_batch b WHERE b.id = %s"
            )
            with psycopg.connect(self.database) as server:
                row = server.execute(query, (batch,)).fetchone()
        assert row is not None
        return float(row[0]), float(row[1])

    def processes(self) -> list[int]:
        """Ours and their children."""
        found = list(self.pids)
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found

    def cpu_s(self) -> float:
        total = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def peak_rss_mb(self) -> float:
        """The sum of each process' peak; pages that processes share are counted for each."""
        total = 0
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
        return total / 1024


@contextmanager
def product(stack: str, provider_url: str, parallel: int) -> Iterator[Site]:
    with ExitStack() as parts:
        folder = parts.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        env = production(folder, provider_url)
        if stack == "server":
            env["DATABASE_URL"] = parts.enter_context(postgres_database())
            env |= {
                "BROKER_URL": REDIS,
                "BROKER_KEY_PREFIX": f"bench-{os.getpid()}:",
                "REDIS_URL": REDIS,
                "DATABASE_POOL_SIZE": "8",
            }
        else:
            env["DATABASE_URL"] = f"sqlite:///{folder}/bench.sqlite3"
        output = Path(folder) / "serve.log"
        web = parts.enter_context(
            process([sys.executable, "manage.py", "serve", "--port", str(port)], env, output=output)
        )
        try:
            until_it_answers(f"http://127.0.0.1:{port}/healthz")
        except requests.RequestException:
            raise SystemExit(f"the product did not start:\n{output.read_text()}") from None
        pids = [web.pid]
        set_slots(env, parallel)
        if stack == "server":
            command = [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "evalsuite",
                "worker",
                "-c",
                "2",
                "-l",
                "WARNING",
            ]
            pids.append(parts.enter_context(process(command, env, output=Path(folder) / "worker.log")).pid)
        words = output.read_text().split()
        site = Site(f"http://127.0.0.1:{port}", pids, provider_url, env["DATABASE_URL"])
        site.sign_in("admin", words[words.index("password") + 1])
        yield site


def production(folder: str, provider_url: str) -> dict[str, str]:
    key = secrets.token_urlsafe(48)
    return {
        "DEBUG": "0",
        "HTTPS": "0",
        "SECRET_KEY": key,
        "JWT_SIGNING_KEY": key,
        "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "DATA_DIR": folder,
        "STATIC_ROOT": str(Path(folder) / "static"),
        "STATICFILES_STORAGE": "django.contrib.staticfiles.storage.StaticFilesStorage",
        "BROKER_URL": "memory://",
        "REDIS_URL": "",
        "OLLAMA_URL": provider_url,
        "LOG_LEVEL": "WARNING",
    }


def set_slots(env: dict[str, str], slots: int) -> None:
    code = f"from llm_routing.models import Endpoint; Endpoint.objects.update(slots={slots})"
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True)


@contextmanager
def postgres_database() -> Iterator[str]:
    name = f"evalsuite_bench_{os.getpid()}"
    with psycopg.connect(POSTGRES, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        yield POSTGRES.rpartition("/")[0] + f"/{name}"
    finally:
        with psycopg.connect(POSTGRES, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def process(command: list[str], env: dict[str, str], *, output: Path | None = None) -> Iterator[Any]:
    with ExitStack() as stack:
        sink = stack.enter_context(output.open("w")) if output else subprocess.DEVNULL
        running = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=sink,
            stderr=subprocess.STDOUT if output else None,
        )
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@contextmanager
def profiler(file: str | None, pid: int) -> Iterator[None]:
    if not file:
        yield
        return
    command = [
        str(Path(sys.executable).with_name("py-spy")),
        "record",
        "-p",
        str(pid),
        "-o",
        file,
        "-f",
        "raw",
        "-r",
        "100",
        "--subprocesses",
        "-g",
    ]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(30)


def bare_wall(url: str, cells: int, parallel: int) -> float:
    """What any product must pay: the calls with requests and threads, one durable row for each."""
    requests.post(f"{url}/reset", timeout=5)
    local = threading.local()
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(f"{folder}/bare.sqlite3", check_same_thread=False, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("CREATE TABLE cell (id INTEGER PRIMARY KEY, output TEXT)")
        lock = threading.Lock()

        def one(number: int) -> None:
            if not hasattr(local, "session"):
                local.session = requests.Session()
            body = {"model": MODEL, "messages": [{"role": "user", "content": f"number {number}"}]}
            text = local.session.post(f"{url}/api/chat", json=body, timeout=60).text
            with lock:
                database.execute("INSERT INTO cell VALUES (?, ?)", (number, text))

        begin = time.monotonic()
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(one, range(cells)))
        seconds = time.monotonic() - begin
        database.close()
    return seconds


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until_it_answers(url: str, *, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            requests.get(url, timeout=2)
            return
        except requests.RequestException:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
