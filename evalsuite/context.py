"""Facts of the request under way, for code below the doors that must note them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestFacts:
    request_id: str = ""
    address: str | None = None


OUTSIDE_A_REQUEST = RequestFacts()

current: ContextVar[RequestFacts] = ContextVar("evalsuite_request", default=OUTSIDE_A_REQUEST)
