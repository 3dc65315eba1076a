"""What is to be done now and then: apps register it as they start, the workers' sweeper sees to it.

The sweeper is an app above us, and knows none of the jobs: it takes turns over all processes by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """`run` must bear being cut off in the middle, and do nothing where nothing is due."""

    name: str  # at most 32 characters
    every_s: float
    run: Callable[[], object]


_jobs: dict[str, Job] = {}


def register(name: str, run: Callable[[], object], *, every_s: float) -> None:
    _jobs[name] = Job(name, every_s, run)


def jobs() -> list[Job]:
    return list(_jobs.values())
