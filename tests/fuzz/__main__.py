"""`make fuzz`: the API's document by schemathesis, the console's forms, and files made to harm, at full size.

A round asks each operation in three modes, each round with the next seed, until the requests are enough.
`--seed 7 --rounds 1` repeats the round of that seed alone; `--only forms` one of the parts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import requests

from evalsuite.env import ROOT
from tests.chaos.installation import Installation
from tests.fuzz.providing import ProviderForAll

CHAINS = 10  # of requests, in stateful mode, for each example that an operation has in the others
ENOUGH = {"LIMIT_PLAYGROUND_PER_MINUTE": "1000000", "PRIVATE_PROVIDER_NETWORKS": "127.0.0.0/8"}
ENOUGH |= {"RUN_SYNC_WAIT": "2", "SLOT_WAIT": "5", "LOG_LEVEL": "ERROR"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", choices=("api", "forms", "bombs"), help="one of the parts")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--rounds", type=int, default=0, help="exactly so many; 0: until there are enough")
    parser.add_argument("--requests", type=int, default=20_000, help="to the API")
    parser.add_argument("--posts", type=int, default=2_000, help="to forms of the console")
    parser.add_argument("--examples", type=int, default=10, help="for each operation and mode, a round")
    parser.add_argument("--modes", default="positive,negative,stateful")
    given = parser.parse_args()
    parts = {"api": lambda: of_api(given), "forms": lambda: of_forms(given), "bombs": of_bombs}
    good = [part() for name, part in parts.items() if given.only in (None, name)]
    sys.exit(0 if all(good) else 1)


def of_forms(given: argparse.Namespace) -> bool:
    return tested("test_forms.py", FUZZ_POSTS=str(given.posts), FUZZ_SEED=str(given.seed))


def of_bombs() -> bool:
    return tested("test_bombs.py", FUZZ_BOMBS="1")


def tested(file: str, **sizes: str) -> bool:
    """A test of every run at another size."""
    command = [sys.executable, "-m", "pytest", f"tests/fuzz/{file}", "-q", "-s", "--timeout", "1800"]
    environment = {"DEBUG": "1", "PATH": os.environ["PATH"], **sizes}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def of_api(given: argparse.Namespace) -> bool:
    with (
        ProviderForAll() as provider,
        Installation(provider_url=provider.url, embedded=True, **ENOUGH) as made,
    ):
        made.seed()
        made.start_web()
        os.environ.update(made.env)
        import django

        django.setup()
        from django.conf import settings

        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        return rounds(given, made, provider)


def rounds(given: argparse.Namespace, made: Installation, provider: ProviderForAll) -> bool:
    from tests.fuzz.api import Tally, run
    from tests.fuzz.stock import Stock

    document = requests.get(f"{made.url}/api/v1/schema", timeout=30).json()
    stock, whole, begun = Stock(provider.url), Tally(), time.monotonic()
    seed = given.seed
    while seed < given.seed + given.rounds if given.rounds else whole.total() < given.requests:
        for mode in given.modes.split(","):
            at = time.monotonic()
            examples = given.examples * (CHAINS if mode == "stateful" else 1)
            tally = run(document, made.url, stock, mode=mode, seed=seed, examples=examples)
            whole.add(tally)
            if tally.failures:
                print(f"{tally.told()}\n", flush=True)
            statuses = ", ".join(f"{status} {n:,}" for status, n in tally.by_status(mode).items())
            print(
                f"seed {seed}  {mode:<8}  {tally.total():>6,} requests  {statuses}  "
                f"{len(tally.operations[mode])} operations  {len(tally.failures)} failures  "
                f"{time.monotonic() - at:.0f} s",
                flush=True,
            )
        seed += 1
    operations = sum(len(methods) for methods in document["paths"].values())
    print()
    print(f"{whole.total():,} requests in {time.monotonic() - begun:.0f} s, {len(whole.failures)} failures")
    for mode in given.modes.split(","):
        print(
            f"  {mode:<8}  {whole.total(mode):>6,} requests  {whole.by_status(mode)}  "
            f"{len(whole.operations[mode])} of {operations} operations"
        )
    print(f"  {len(whole.accepted)} of {operations} operations answered 2xx; next seed {seed}")
    return not whole.failures


if __name__ == "__main__":
    main()
