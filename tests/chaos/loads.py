"""How often models are loaded, and what that costs: K models x M inputs x R repeats on one slow Ollama.

Run: .venv/bin/python -m tests.chaos.loads [--load 5] [--models 3] [--inputs 10] [--repeats 4] [--server]

The fake server has room for one model and takes `--load` seconds for each; the product runs as in
production, embedded on SQLite or, with `--server`, on PostgreSQL and Redis with two workers. Prints loads,
wall time from the press of Run to the end of the batch, the lower bound (each model loaded once, every slot
busy all the time), and their ratio. Ends with an error where a model was loaded twice.
"""

from __future__ import annotations

import argparse
import sys
import time

from celery import Celery

from tests.chaos.installation import Installation
from tests.chaos.parts import until
from tests.fakes.loading_ollama import LoadingOllama


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.loads", description=__doc__.splitlines()[0])
    parser.add_argument("--load", type=float, default=5.0, metavar="S", help="seconds to load a model")
    parser.add_argument("--call", type=float, default=0.2, metavar="S", help="seconds of each answer")
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--inputs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--server", action="store_true", help="PostgreSQL, Redis and two workers")
    given = parser.parse_args()
    with (
        LoadingOllama(load_s=given.load, call_s=given.call, parallel=given.slots) as server,
        Installation(provider_url=server.base_url, embedded=not given.server) as made,
    ):
        names = [f"model-{number}:1b" for number in range(1, given.models + 1)]
        made.seed(slots=given.slots, model=names[0], also=names[1:])
        made.start_web()
        made.sign_in()
        if given.server:
            start_workers(made, 2)
        took = run(made, names, inputs=given.inputs, repeats=given.repeats)
        tell(server, took, cells=given.models * given.inputs * given.repeats, models=given.models)


def start_workers(made: Installation, number: int) -> None:
    """Start workers, and wait until each of them takes tasks: it answers only then."""
    for _ in range(number):
        made.add_worker()
    with Celery(broker=made.redis.url) as app:
        until(lambda: len(app.control.ping(timeout=0.5)) >= number, "all workers wait for work")


def run(made: Installation, names: list[str], *, inputs: int, repeats: int) -> float:
    """Seconds from the press of Run to the end of the batch."""
    prompts = [f"input {number}" for number in range(inputs)]
    experiment = made.make_experiment("loads", prompts, modelName=names[0])
    for name in names[1:]:
        body = {"name": name, "config": {"modelName": name}}
        made.request("POST", f"experiments/{experiment}/variants", json=body).raise_for_status()
    begun = time.monotonic()
    batch = made.run(experiment, repeats=repeats)
    until(lambda: made.rows.finished(batch), "the batch has ended", timeout_s=600)
    return time.monotonic() - begun


def tell(server: LoadingOllama, took: float, *, cells: int, models: int) -> None:
    bound = models * server.load_s + cells * server.call_s / server.parallel
    at_server = max(one.ended for one in server.served) - (server.first_asked or 0)
    print(
        f"{len(server.loads)} loads of {models} models for {len(server.served)} of {cells} cells,"
        f" {took:.2f} s wall, at least {bound:.2f} s: {took / bound:.3f};"
        f" {at_server:.2f} s at the server: {at_server / bound:.3f}"
    )
    if len(server.loads) != models or len(server.served) != cells:
        sys.exit("a model was loaded more than once, or a cell was called more or less than once")


if __name__ == "__main__":
    main()
