"""Facts of the request or the work under way, for code below the doors that must note them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RequestFacts:
    request_id: str = ""
    address: str | None = None
    traceparent: str = ""  # where the request's span is found; empty without traces


OUTSIDE_A_REQUEST = RequestFacts()

current: ContextVar[RequestFacts] = ContextVar("evalsuite_request", default=OUTSIDE_A_REQUEST)


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker's thread is at."""

    batch: UUID | None = None
    run: UUID | None = None

    def ids(self) -> dict[str, str]:
        return {"batch": str(self.batch or ""), "run": str(self.run or "")}


NO_WORK = Work()

work: ContextVar[Work] = ContextVar("evalsuite_work", default=NO_WORK)


@contextmanager
def working_on(batch: UUID) -> Iterator[None]:
    token = work.set(Work(batch))
    try:
        yield
    finally:
        work.reset(token)
