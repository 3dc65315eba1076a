"""What callers offer for a grant, and what they are told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from evalsuite.errors import QuotaExceeded, RateLimited
from evalsuite.quotas.models import UsageRecord

USUAL_ANSWER = 1_024  # tokens held for an answer whose length nobody bounds
LARGEST = 2**31 - 1  # of a token count in the ledger

# The limits by their names on the wire, as people say them.
WORDS = {
    "requestsPerMinute": "requests per minute",
    "tokensPerDay": "tokens per day",
    "tokensPerMonth": "tokens per month",
    "parallelCells": "cells in parallel",
    "cellsPerBatch": "cells per run",
    "playgroundPerMinute": "playground requests per minute and user",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a model, for the ledger. `attempt` makes counting it twice impossible."""

    attempt: UUID
    kind: UsageRecord.Kind | str
    provider: str  # slug
    model: str
    tokens: int = 0  # an estimate of input and output together, held until the call is settled
    user_id: UUID | None = None
    experiment_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What a call used. None: the provider did not say (never 0); the counters then count no tokens.

    The whole call and not its id alone: where no limit asked for a reservation, settling writes the
    ledger's row.
    """

    call: Call
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that a call ran into."""

    limit: str  # a key of WORDS
    value: int  # what the limit allows
    used: int  # what is used of it, reservations included
    retry_after: float  # seconds until there may be room

    def __str__(self) -> str:
        return (
            f"The organisation's limit of {self.value:,} {WORDS[self.limit]} is reached"
            f" ({self.used:,} used). Try again in {in_words(self.retry_after)}."
        )

    def error(self) -> RateLimited:
        """What a person is answered: QuotaExceeded for tokens, RateLimited for requests per minute."""
        kind = QuotaExceeded if self.limit in ("tokensPerDay", "tokensPerMonth") else RateLimited
        return kind(
            str(self),
            retry_after=self.retry_after,
            name=self.limit,
            limit=self.value,
            used=self.used,
            retryAfter=math.ceil(self.retry_after),
        )


@dataclass(frozen=True, slots=True)
class Granted:
    """The first `count` of the calls may be made. `refusal` says why not all, and is None where all may."""

    count: int
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by the database's clock, and the windows that it lies in."""

    epoch: int  # whole seconds since 1970

    @property
    def minute(self) -> int:
        return self.epoch // 60

    @property
    def day(self) -> date:
        return datetime.fromtimestamp(self.epoch, UTC).date()

    @property
    def month(self) -> date:
        return self.day.replace(day=1)

    @property
    def next_minute(self) -> datetime:
        return datetime.fromtimestamp((self.minute + 1) * 60, UTC)

    @property
    def next_day(self) -> datetime:
        return midnight(self.day + timedelta(days=1))

    @property
    def next_month(self) -> datetime:
        return midnight((self.month + timedelta(days=32)).replace(day=1))

    def until(self, end: datetime) -> float:
        """Seconds, at least one."""
        return max(1.0, end.timestamp() - self.epoch)


def estimated_tokens(characters: int, max_tokens: int | None) -> int:
    """What a call may use: a token is about four characters of prompt; few answers are longer than usual."""
    return math.ceil(characters / 4) + (max_tokens or USUAL_ANSWER)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def in_words(seconds: float) -> str:
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds > size:
            return f"{-(-int(seconds) // size)} {word}s"
    whole = max(1, round(seconds))
    return f"{whole} second{'s' if whole > 1 else ''}"
