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
from typing import Any

import requests

from evalsuite.env import ROOT
from tests.chaos.installation import Installation
from tests.fuzz.providing import ProviderForAll
from tests.fuzz.tally import Tally

ENOUGH = {"LIMIT_PLAYGROUND_PER_MINUTE": "1000000", "PRIVATE_PROVIDER_NETWORKS": "127.0.0.0/8"}
ENOUGH |= {"RUN_SYNC_WAIT": "2", "SLOT_WAIT": "5", "LOG_LEVEL": "ERROR"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", choices=("api", "forms", "bombs"), help="one of the parts")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--rounds", type=int, default=0, help="exactly so many; 0: until there are enough")
    parser.add_argument("--requests", type=int, default=20_000, help="to the API")
    parser.add_argument("--posts", type=int, default=2_000, help="to forms of the console")
    parser.add_argument("--examples", type=int, default=8, help="for each operation and mode, a round")
    parser.add_argument("--chains", type=int, default=80, help="of requests in stateful mode, a round")
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
    from tests.fuzz.api import run
    from tests.fuzz.stock import Stock

    document = requests.get(f"{made.url}/api/v1/schema", timeout=30).json()
    stock, begun, seed = Stock(provider.url), time.monotonic(), given.seed
    whole = {mode: Tally() for mode in given.modes.split(",")}

    def enough() -> bool:
        asked = sum(tally.requests for tally in whole.values())
        return seed - given.seed >= given.rounds if given.rounds else asked >= given.requests

    while not enough():
        for mode, so_far in whole.items():
            at = time.monotonic()
            examples = given.chains if mode == "stateful" else given.examples
            tally = run(document, made.url, stock, mode=mode, seed=seed, examples=examples)
            so_far.add(tally)
            if tally.breaks:
                print(f"{tally.told()}\n", flush=True)
            print(f"seed {seed}  {mode:<8}  {tally}  {time.monotonic() - at:.0f} s", flush=True)
        seed += 1
    tell(whole, document, time.monotonic() - begun)
    return not any(tally.breaks for tally in whole.values())


def tell(whole: dict[str, Tally], document: Any, seconds: float) -> None:
    operations = sum(len(methods) for methods in document["paths"].values())
    requests_of_all = sum(tally.requests for tally in whole.values())
    print(f"\n{requests_of_all:,} requests to {operations} operations in {seconds:.0f} s")
    for mode, tally in whole.items():
        print(f"  {mode:<8}  {tally}")
    print(f"and {sum(tally.repeated for tally in whole.values()):,} of them once more by checks")


if __name__ == "__main__":
    main()
