"""How far a batch is: counts, speed, and the cells that closed since somebody last looked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar
from uuid import UUID

from django.db.models import Count, Q

from evalsuite.clock import in_seconds
from evalsuite.errors import InvalidBody
from experiments.models import Batch, Evaluation, ExperimentRun

T = TypeVar("T")
SPEED_OVER_S = 5.0
# Where so few cells closed in that time, what it says is chance: the last minute is asked instead.
FEW_CELLS = 10
SLOW_SPEED_OVER_S = 60.0
# A cell is told when its transaction has surely ended: then none appears behind a cursor that has passed it.
SETTLED_S = 1.0
TOLD_AT_ONCE = 50
TICK = timedelta(milliseconds=1)  # SQLite keeps some times to the millisecond, and compares them as text
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


CURSOR = "0|[0-9]{1,17}-[0-9a-f]{32}"  # more digits are no time any more


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the order in which cells closed. As text: microseconds since 1970, `-`, the run's id."""

    at: datetime
    run_id: UUID

    def __str__(self) -> str:
        return f"{(self.at - EPOCH) // timedelta(microseconds=1)}-{self.run_id.hex}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`0` is the beginning. Raises InvalidBody for what is no cursor."""
        if not re.fullmatch(CURSOR, text):
            raise InvalidBody({"after": ["This is no cursor of a progress event."]})
        if text == "0":
            return cls.beginning()
        microseconds, run_id = text.split("-")
        return cls(EPOCH + timedelta(microseconds=int(microseconds)), UUID(run_id))

    @classmethod
    def beginning(cls) -> Self:
        return cls(EPOCH, UUID(int=0))


@dataclass(frozen=True, slots=True)
class Closed:
    """A cell that closed."""

    cursor: Cursor
    variant_id: UUID
    input_key: str
    repeat: int
    state: str
    latency_ms: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """A batch at one moment, with its counts by state.

    `throughput` is cells per second; `eta_s` seconds, None where nobody can tell.
    """

    batch: Batch
    throughput: float
    eta_s: float | None

    @property
    def has_ended(self) -> bool:
        return self.batch.finished_at is not None


def look(batch_id: UUID) -> Look | None:
    """With the counts of its evaluations too. Three queries, however many cells. None where it is gone."""
    batch = Batch.objects.to_look_at().filter(pk=batch_id).first()
    if batch is None:
        return None
    for name, count in Evaluation.objects.filter(batch=batch_id).counts().items():
        setattr(batch, f"evaluations_{name}", count)
    return look_at(batch)


def look_at(batch: Batch) -> Look:
    """At the cells of a batch that came by `to_look_at`. One query."""
    rows = ExperimentRun.objects.filter(batch=batch).order_by().values_list("state")
    counts = dict.fromkeys(ExperimentRun.State.values, 0)
    lately = minute = 0
    for state, count, closed_lately, in_a_minute in rows.annotate(
        n=Count("pk"), lately=_closed_within(SPEED_OVER_S), minute=_closed_within(SLOW_SPEED_OVER_S)
    ):
        counts[state] = count
        lately += closed_lately
        minute += in_a_minute
    for state, count in counts.items():
        setattr(batch, state, count)
    now = batch.db_now  # type: ignore[attr-defined]
    age = max(0.1, (now - (batch.started_at or now)).total_seconds())
    throughput = lately / min(SPEED_OVER_S, age)
    if lately < FEW_CELLS:
        throughput = minute / min(SLOW_SPEED_OVER_S, age)
    left = counts["queued"] + counts["running"]
    goes_on = batch.state == Batch.State.RUNNING and throughput
    return Look(batch, round(throughput, 3), round(left / throughput, 1) if goes_on else None)


def _closed_within(seconds: float) -> Count:
    lately = Q(finished_at__gt=in_seconds(-seconds), state__in=ExperimentRun.CLOSED)
    return Count("pk", filter=lately)


def closed_after(cursor: Cursor, look: Look) -> list[Closed]:
    """Cells that closed after the cursor, in that order; the last moment's only where the batch has ended."""
    cells = ExperimentRun.objects.filter(
        batch=look.batch.pk, state__in=ExperimentRun.CLOSED, finished_at__gte=cursor.at - TICK
    )
    if not look.has_ended:
        cells = cells.filter(finished_at__lte=in_seconds(-SETTLED_S))
    rows = cells.order_by().values_list(
        "finished_at", "id", "variant_id", "input__key", "repeat", "state", "latency_ms"
    )
    found = [
        Closed(Cursor(at, run_id), variant, key, repeat, state, latency)
        for at, run_id, variant, key, repeat, state, latency in rows
        if at is not None
    ]
    return sorted((cell for cell in found if cell.cursor > cursor), key=lambda cell: cell.cursor)


def latest(look: Look) -> Cursor:
    """Behind all cells that would be told now."""
    cells = ExperimentRun.objects.filter(batch=look.batch.pk, state__in=ExperimentRun.CLOSED)
    if not look.has_ended:
        cells = cells.filter(finished_at__lte=in_seconds(-SETTLED_S))
    newest = cells.order_by("-finished_at", "-id").only("finished_at").first()
    if newest is None or newest.finished_at is None:
        return Cursor.beginning()
    # Others of the same moment may be sorted behind it: texts and times do not sort alike on SQLite.
    near = closed_after(Cursor(newest.finished_at - TICK, UUID(int=0)), look)
    return max((cell.cursor for cell in near), default=Cursor(newest.finished_at, newest.pk))


def in_parts(cells: list[T]) -> Iterator[list[T]]:
    """At most so many at once; one empty part where there are none."""
    for begin in range(0, max(1, len(cells)), TOLD_AT_ONCE):
        yield cells[begin : begin + TOLD_AT_ONCE]
