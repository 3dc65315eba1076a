"""Writing the test data: an org with all its experiments, and what else the engine keeps of each cell.

Cells have their attempts, ledger rows, scores and events; the sums that are kept beside them (counters of
the month, figures for Prometheus) and the seals of the events are made as always. Whole experiments are
committed at once, so that what is there adds up even where loading was cut short.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from random import Random

from django.db import connection, connections, transaction

from evalsuite.audit import sealing
from evalsuite.errors import Conflict
from evalsuite.metrics import folding
from evalsuite.orgs.models import Org, User
from experiments.loadtest.cells import CellWriter
from experiments.loadtest.figures import write_usage
from experiments.loadtest.setup import Place, make_orgs, make_place
from experiments.loadtest.shape import Shape

AT_ONCE = 10_000  # cells of one transaction, or more where an experiment has more
PARTS = 20
DAY_MS = 24 * 60 * 60 * 1000
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of one part, in rows, and what was used by UTC day."""

    cells: int
    scores: int
    days: dict[str, Counter[str]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is there now, in rows."""

    org: Org
    cells: int
    scores: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """An experiment that is to be made: which one, its number of inputs, and when it was made."""

    number: int
    inputs: int
    ms: int


def load(
    shape: Shape,
    *,
    name: str,
    slug: str,
    password: str,
    tell: Tell,
    alongside: bool = False,
    processes: int = 1,
) -> Loaded:
    """Make the org and fill it. `password` is that of its members.

    With several processes (not on SQLite, which has one writer) call it outside of any transaction.
    Raises BadShape; Conflict where an org of this slug is there, or, unless `alongside`, any data at all.
    """
    shape.check()
    _require_room(slug, alongside=alongside)
    chance = Random(shape.seed)  # noqa: S311 - the same data each time
    with transaction.atomic():
        org, members = make_orgs(shape, name=name, slug=slug, password=password)
        place = make_place(org, members, chance)
    days = []
    cells = scores = 0
    for written in _written(place, shape, processes):
        cells, scores = cells + written.cells, scores + written.scores
        days.append(written.days)
        tell(f"{cells:,} cells")
    write_usage(place, days)
    tell("Sealing the events, adding up the figures.")
    while sealing.seal_some():
        pass
    folding.fold()
    _analyze()
    return Loaded(org, cells, scores)


def _require_room(slug: str, *, alongside: bool) -> None:
    if Org.objects.filter(slug=slug).exists():
        raise Conflict(f"There is an organisation {slug} already. It stays as it is: choose another --slug.")
    if not alongside and (Org.objects.exists() or User.objects.exists()):
        raise Conflict("This database has data of its own. Say --alongside to put the test data beside it.")


def _wanted(shape: Shape) -> list[Wanted]:
    inputs = list(shape.inputs())
    span_ms = shape.days * DAY_MS
    start_ms = int(time.time() * 1000) - span_ms
    return [
        Wanted(number, size, start_ms + span_ms * number // (len(inputs) + 1))
        for number, size in enumerate(inputs, 1)
    ]


def _written(place: Place, shape: Shape, processes: int) -> Iterator[Written]:
    """Write all experiments, part by part; the parts are the same however many processes share them."""
    wanted = _wanted(shape)
    size = -(-len(wanted) // PARTS)
    parts = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    calls = [(place, shape.seed + number, part) for number, part in enumerate(parts, 1)]
    if processes == 1:
        yield from (_fill(*call) for call in calls)
        return
    connections.close_all()  # no connection may be in two processes
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        for done in as_completed([pool.submit(_fill, *call) for call in calls]):
            yield done.result()


def _fill(place: Place, seed: int, wanted: Sequence[Wanted]) -> Written:
    writer = CellWriter(place, Random(seed))  # noqa: S311 - see above
    for one in wanted:
        writer.experiment(one.number, one.inputs, one.ms)
        if writer.waiting >= AT_ONCE:
            writer.flush()
    writer.flush()
    return Written(writer.runs.written, writer.scores.written, writer.figures.days)


def _analyze() -> None:
    """The tables are as autovacuum would have left ones that grew slowly. It takes no transaction."""
    can_vacuum = connection.vendor == "postgresql" and not connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)" if can_vacuum else "ANALYZE")
