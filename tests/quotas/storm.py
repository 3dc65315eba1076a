"""Many threads that offer the same calls twice, in groups, and settle what they were granted.

As a program it prints the numbers granted: `python -m tests.quotas.storm ORG FIRST COUNT THREADS GROUP`.
"""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID


def storm(org, *, first: int, count: int, threads: int, group: int) -> list[int]:
    """Offer the calls numbered from `first` on, each twice. Returns the numbers granted, each once."""
    from django.db import connections, transaction

    from evalsuite.quotas.services import Call, Used, reserve, settle

    def offer(numbers):
        calls = [Call(UUID(int=n), "experiment", "ollama", "tiny:1b", tokens=1) for n in numbers]
        with transaction.atomic():
            granted = calls[: reserve(org, calls).count]
        if granted:  # a second offer settles again, which must change nothing
            with transaction.atomic():
                settle(org, [Used(call, 1, 0) for call in granted])
        return [call.attempt.int for call in granted]

    def work(offers):
        try:
            return [number for numbers in offers for number in offer(numbers)]
        finally:
            connections.close_all()

    groups = [range(start, min(start + group, first + count)) for start in range(first, first + count, group)]
    offers = [*groups, *groups]
    random.Random(first).shuffle(offers)
    with ThreadPoolExecutor(threads) as pool:
        granted = [n for some in pool.map(work, [offers[n::threads] for n in range(threads)]) for n in some]
    return sorted(set(granted))


if __name__ == "__main__":
    import django

    django.setup()
    from evalsuite.orgs.models import Org

    org_id, *numbers = sys.argv[1:]
    first, count, threads, group = map(int, numbers)
    found = storm(Org.objects.get(pk=org_id), first=first, count=count, threads=threads, group=group)
    sys.stdout.write(json.dumps(found))
