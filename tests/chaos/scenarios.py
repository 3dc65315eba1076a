"""Batches that run while parts of the installation die. Each prints figures and checks what must hold."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import requests

from evalsuite.env import ROOT
from tests.chaos.installation import LEASE_S, SWEEP_S, Installation, Watcher
from tests.chaos.invariants import Figures, Invariants
from tests.chaos.parts import Part, until
from tests.chaos.provider import FastOllama

OVERDUE_S = LEASE_S + SWEEP_S + 5  # on a busy machine a sweep takes its time


_numbers = count(1)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong when a share of the cells is closed."""

    at: float  # 0..1 of the batch
    what: str
    strike: Callable[[], object]


@dataclass
class Report:
    """What happened, for people: lines of a log with seconds since the start."""

    name: str
    started: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    figures: Figures | None = None
    seconds: float = 0.0

    def say(self, line: str) -> None:
        line = f"[{self.name} {time.monotonic() - self.started:6.1f} s] {line}"
        self.lines.append(line)
        print(line, flush=True)


@contextmanager
def installation(*, delay_s: float = 0.05, slots: int = 64, **more: Any):
    """A provider, and an installation with a web server and no workers yet, signed in."""
    with FastOllama(delay_s=delay_s) as provider, Installation(provider_url=provider.url, **more) as made:
        made.seed(slots=slots)
        made.start_web()
        made.sign_in()
        yield made, provider


class Scene:
    """One experiment on an installation: its prompts are nobody else's, so that its calls can be counted.

    A context manager that ends the workers that it started.
    """

    def __init__(self, made: Installation, provider: FastOllama, name: str, *, delay_s: float = 0.05) -> None:
        self.made = made
        self.provider = provider
        self.report = Report(name)
        self.rows = made.rows
        self.words = f"{name} {next(_numbers)}"
        provider.forget(delay_s=delay_s)
        self.invariants = Invariants(made.rows, overdue_s=OVERDUE_S)
        self.workers: list[Part] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.end()
        self.provider.forget()

    def add_worker(self, **more: Any) -> Part:
        worker = self.made.add_worker(**more)
        self.workers.append(worker)
        return worker

    def prompts(self, number: int) -> list[str]:
        return [f"{self.words} case {n}" for n in range(1, number + 1)]

    def run(self, prompts: Sequence[str], *, parallel: int = 32) -> str:
        """Make an experiment of these, and press Run; answers the batch's id as soon as it is written down.

        The answer to a large one names all its cells and takes its time: the faults do not wait for it.
        """
        experiment = self.made.make_experiment(self.words, prompts)
        threading.Thread(target=self._press, args=[experiment, parallel], daemon=True).start()
        sql = "SELECT id FROM experiments_batch WHERE experiment_id = %s"
        rows = until(lambda: self.rows.ask(sql, self.rows.key(experiment)), "planned", timeout_s=300)
        return str(uuid.UUID(str(rows[0][0])))

    def _press(self, experiment: str, parallel: int) -> None:
        try:
            self.made.run(experiment, parallel=parallel)
        except requests.RequestException as error:  # the web server may be what is killed
            self.report.say(f"the answer to Run did not come: {error}")

    def until_share(self, batch: str, share: float, *, timeout_s: float = 120) -> None:
        total = sum(self.rows.states(batch).values())
        what = f"{share:.0%} of the cells are closed"
        until(lambda: self.rows.closed(batch) >= share * total, what, timeout_s=timeout_s, every_s=0.1)

    def until_finished(self, batch: str, *, timeout_s: float = 60) -> None:
        until(lambda: self.rows.finished(batch), "the batch is finished", timeout_s=timeout_s)

    def check(self, what: str, batch: str, **more: Any) -> Figures:
        """Everything that must hold, said with its figures."""
        figures = self.invariants.check(self.provider.calls.copy(), batch=batch, **more)
        self.report.say(f"{what}: {figures}")
        self.report.figures = figures
        self.report.seconds = time.monotonic() - self.report.started
        return figures


def run_through(
    scene: Scene,
    faults: Sequence[Fault],
    *,
    cells: int,
    parallel: int = 32,
    limit_s: float = 120,
) -> Report:
    """Run so many cells while the faults strike in order; check after each, at the end, and after it."""
    deadline = time.monotonic() + limit_s
    batch = scene.run(scene.prompts(cells), parallel=parallel)
    watcher = Watcher(scene.made, batch)
    scene.report.say(f"{cells} cells, batch {batch}")
    for fault in sorted(faults, key=lambda fault: fault.at):
        scene.until_share(batch, fault.at, timeout_s=deadline - time.monotonic())
        fault.strike()
        scene.check(fault.what, batch, swept=False)
    scene.until_finished(batch, timeout_s=deadline - time.monotonic())
    watcher.wait(20)
    scene.check("finished", batch, ended=True)
    # Whoever was given up may still be about: nothing that it does may change anything.
    time.sleep(LEASE_S)
    figures = scene.check("a lease later", batch, ended=True)
    assert figures.states == {"succeeded": cells}, figures
    assert watcher.ends == 1, f"the end was told {watcher.ends} times"
    return scene.report


def kill_worker(scene: Scene, chance: random.Random) -> Callable[[], None]:
    """Kill -9 one of the workers, and start it again."""

    def strike() -> None:
        worker = chance.choice([worker for worker in scene.workers if worker.alive])
        worker.kill()
        worker.start()

    return strike


def kill_all_workers(scene: Scene) -> Callable[[], None]:
    """Kill -9 all workers with calls in the air, and start them again: certainly some cells are left."""

    def strike() -> None:
        until(lambda: scene.provider.now >= 4, "calls are in the air", every_s=0.002)
        for worker in scene.workers:
            worker.kill()
        for worker in scene.workers:
            worker.start()

    return strike


def workers_die(made: Installation, provider: FastOllama, *, cells: int = 1_000, seed: int = 1) -> Report:
    """The CI size: kill -9 of workers, and a Redis that forgets everything."""
    chance = random.Random(seed)
    with Scene(made, provider, "workers die") as scene:
        scene.add_worker()
        scene.add_worker()
        faults = [
            Fault(0.10, "kill -9 of a worker", kill_worker(scene, chance)),
            Fault(0.40, "Redis is wiped", made.redis.wipe),
            Fault(0.60, "kill -9 of both workers", kill_all_workers(scene)),
        ]
        return run_through(scene, faults, cells=cells)


def storm(*, cells: int = 10_000, seed: int = 1) -> Report:
    """Ten kill -9, Redis killed and wiped, PostgreSQL crashed, the provider out, two workers frozen."""
    chance = random.Random(seed)
    # The usual five tries are over after some seconds; this provider is out for twenty.
    with (
        installation(CELL_ATTEMPTS="10") as (made, provider),
        Scene(made, provider, "storm", delay_s=0.03) as scene,
    ):
        threads = [scene.add_worker(), scene.add_worker()]
        pools = [scene.add_worker(pool="prefork", concurrency=2) for _ in range(2)]

        def kill_one() -> None:
            worker = chance.choice(threads)
            worker.kill()
            worker.start()

        def kill_pool_process() -> None:
            pool = chance.choice(pools)
            until(lambda: pool.kill_child(chance.randrange(2)), "a process of the pool is there")

        def kill_redis() -> None:
            made.redis.kill()
            time.sleep(2)
            made.redis.start()

        def crash_postgres() -> None:
            made.postgres.crash()
            time.sleep(1)
            made.postgres.start()

        def freeze_two() -> None:
            two = [threads[0], pools[0]]
            for worker in two:
                worker.freeze()
            time.sleep(LEASE_S + 3 * SWEEP_S)
            for worker in two:
                worker.thaw()

        faults = [
            *[Fault(at, "kill -9 of a worker", kill_one) for at in (0.05, 0.15, 0.36, 0.50, 0.70, 0.85)],
            *[Fault(at, "kill -9 of a pool process", kill_pool_process) for at in (0.10, 0.25, 0.55, 0.80)],
            Fault(0.20, "Redis killed, back and empty", kill_redis),
            Fault(0.35, "the provider refuses for 20 s", lambda: provider.refuse_for(20)),
            Fault(0.45, "PostgreSQL crashed", crash_postgres),
            Fault(0.60, "two workers frozen beyond their lease", freeze_two),
            Fault(0.75, "Redis wiped", made.redis.wipe),
        ]
        return run_through(scene, faults, cells=cells, parallel=64, limit_s=900)


def serve_dies(*, cells: int = 500, kills: int = 5) -> Report:
    """One process on SQLite with a queue in memory: each kill -9 takes web server, worker and queue."""
    # Calls that last long enough for the process to die during them.
    with (
        installation(embedded=True) as (made, provider),
        Scene(made, provider, "serve dies", delay_s=0.3) as scene,
    ):

        def strike() -> None:
            until(lambda: provider.now >= 4, "calls are in the air", every_s=0.002)
            made.web.kill()
            made.web.start()

        faults = [Fault((number + 0.5) / (kills + 1), "kill -9 of serve", strike) for number in range(kills)]
        return run_through(scene, faults, cells=cells, limit_s=60 + 25 * kills)


def redis_fails(
    made: Installation,
    provider: FastOllama,
    *,
    cells: int = 100,
    away_s: float = 4.0,
    answer_within_s: float = 3.0,
    end_within_s: float = 15.0,
) -> Report:
    """Run is pressed while Redis is down, silent, full, or just flushed: it only holds hints."""
    redis = made.redis
    troubles = {
        "down": (redis.kill, redis.start),
        "silent": (redis.freeze, redis.thaw),
        "full": (redis.fill, redis.empty),
        "flushed": (redis.wipe, redis.wipe),
    }
    slow: list[str] = []
    with Scene(made, provider, "Redis fails") as scene:
        scene.add_worker()
        scene.until_finished(scene.run(scene.prompts(1)))  # the worker is up
        for trouble, (breaks, mends) in troubles.items():
            scene.words = f"Redis {trouble} {next(_numbers)}"
            experiment = made.make_experiment(trouble, scene.prompts(cells))
            breaks()
            try:
                pressed = time.monotonic()
                batch = made.run(experiment, parallel=32)
                answered = time.monotonic() - pressed
                time.sleep(away_s)
            finally:
                mends()
            back = time.monotonic()
            scene.until_finished(batch)
            took = time.monotonic() - back
            what = f"{trouble}: 202 after {answered:.2f} s, finished {took:.1f} s after its return"
            figures = scene.check(what, batch, ended=True)
            assert figures.states == {"succeeded": cells}, trouble
            if answered > answer_within_s or took > end_within_s:
                slow.append(what)
    assert not slow
    return scene.report


def a_cell_kills(made: Installation, provider: FastOllama, *, cells: int = 60) -> Report:
    """One cell kills its worker each time: it fails after three crashes, its neighbours succeed."""
    with Scene(made, provider, "a cell kills", delay_s=0.3) as scene:
        prompts = scene.prompts(cells)
        poison = prompts[cells // 3]
        deaths: list[str] = []

        def kill_caller(prompt: str, port: int) -> None:
            if prompt == poison and (worker := made.worker_behind(port)):
                os.kill(worker.pid, signal.SIGKILL)
                deaths.append(worker.name)

        provider.when_asked = kill_caller
        scene.add_worker()
        scene.add_worker()
        batch = scene.run(prompts, parallel=16)

        def finished() -> bool:
            for worker in scene.workers:
                if not worker.alive:
                    worker.start()
            return scene.rows.finished(batch)

        until(finished, "finished in spite of the cell", timeout_s=100, every_s=0.2)
        scene.check(f"finished, {len(deaths)} workers died", batch, ended=True)
        failed = scene.rows.ask(
            "SELECT i.content, r.error_code, r.crashes FROM experiments_experimentrun r"
            " JOIN experiments_experimentinput i ON i.id = r.input_id"
            " WHERE r.state <> 'succeeded' AND r.batch_id = %s",
            scene.rows.key(batch),
        )
        assert failed == [(poison, "WORKER_LOST", 3)], failed
        assert len(deaths) == 3, deaths
        return scene.report


def deploy(made: Installation, provider: FastOllama, *, cells: int = 300) -> Report:
    """All workers are told to end in the middle while new ones start: no cell is called twice for that."""
    with Scene(made, provider, "deploy", delay_s=0.4) as scene:
        old = [scene.add_worker(), scene.add_worker()]
        batch = scene.run(scene.prompts(cells))
        scene.until_share(batch, 0.25)
        scene.add_worker()
        scene.until_share(batch, 0.33)
        for worker in old:
            worker.terminate()
        scene.add_worker()
        scene.check("SIGTERM to all old workers", batch)
        statuses = [worker.wait(40) for worker in old]
        scene.report.say(f"the old workers have ended with {statuses}")
        scene.until_finished(batch)
        figures = scene.check("finished", batch, ended=True)
        assert statuses == [0, 0]
        assert figures.states == {"succeeded": cells}
        assert figures.attempts == {"succeeded": cells}, "attempts were wasted"
        assert figures.provider_calls == cells
        return scene.report


def clock_is_off(made: Installation, provider: FastOllama, *, cells: int = 300) -> Report:
    """One worker's clock is an hour ahead and another's an hour behind: only the database's counts."""
    with Scene(made, provider, "clock is off", delay_s=0.2) as scene:
        scene.add_worker(**faked_clock("+3600"))
        scene.add_worker(**faked_clock("-3600"))
        batch = scene.run(scene.prompts(cells))
        for share in (0.2, 0.4, 0.6, 0.8):
            scene.until_share(batch, share)
            scene.check(f"{share:.0%}", batch)
        scene.until_finished(batch)
        figures = scene.check("finished", batch, ended=True)
        assert figures.states == {"succeeded": cells}
        # A clock that counted would take back the leases of others; a busy machine loses a few.
        assert figures.attempts["lost"] <= 0.3 * cells
        return scene.report


def libfaketime() -> Path | None:
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def faked_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose wall clock is off by so many seconds; others go on as they are."""
    library = libfaketime()
    assert library is not None, "libfaketime is not installed"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{ROOT / 'tests/chaos/faked'}{os.pathsep}{ROOT}",
    }
