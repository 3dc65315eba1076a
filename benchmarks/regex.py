"""A hundred hostile expressions, each on a megabyte: python -m benchmarks.regex [--all]

Prints processor time in milliseconds. "no score" is a missing score with its reason, "refused" an
expression that nobody can attach.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections import Counter

import django

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="a line for each expression, not for the slowest")
    wants_all = parser.parse_args().all
    os.environ.setdefault("DEBUG", "1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")
    django.setup()

    from tests.experiments.hostile_patterns import PATTERNS, texts

    texts()
    rows = []
    for one in PATTERNS:
        outcomes = [one.run() for _ in range(ROUNDS)]
        rows.append((min(outcome.seconds for outcome in outcomes) * 1000, outcomes[0].words, one))
    rows.sort(key=lambda row: -row[0])
    for milliseconds, words, one in rows if wants_all else rows[:15]:
        print(f"{milliseconds:8.1f} ms  {words:13} {one.pattern[:60]}  on {one.kind}")
    times = [milliseconds for milliseconds, *_ in rows]
    found = ", ".join(f"{n} {words}" for words, n in Counter(words for _, words, _ in rows).most_common())
    print(f"\n{len(rows)} expressions x 1 MB: {found}")
    print(f"median {statistics.median(times):.1f} ms, slowest {max(times):.1f} ms")


if __name__ == "__main__":
    main()
