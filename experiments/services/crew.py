"""A crew: threads that call, each on a lane of its own, and one thread that claims and records for them.

A caller never waits for the database: cells are claimed a little ahead of it, and what it brings is
written down in groups. How far ahead depends on how long calls take, so that with slow models no cell
is held that could be called elsewhere.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.db import InterfaceError, OperationalError, connections
from django.db.models.functions import Coalesce, Now

from evalsuite.clock import in_seconds
from evalsuite.errors import EvalsuiteError
from evalsuite.prepared import Prepared
from evalsuite.quotas import services as quotas
from experiments.models import Batch, ExperimentRun
from experiments.services import claiming, permits, recording
from experiments.services.calling import Seat, callers, earlier_answer, pace, suspects
from experiments.services.claiming import Cell, Group
from experiments.services.evaluation import Panel
from experiments.services.recording import Answered, Failed, Outcome
from llm_routing import routing
from llm_routing.models import RegisteredModel
from llm_routing.providers.calls import CallHandle

log = logging.getLogger(__name__)

GROUP_S = 0.1  # results that come so close together share a transaction ...
HURRIED_GROUP_S = 0.005  # ... unless a caller waits for its next cell meanwhile ...
LAST_GROUP_S = 0.02  # ... or somebody for the end of the batch
FIRST_S = 0.05  # so long at most callers stand back until the first result is shown
LOOK_S = 0.25  # how soon it is noticed that a batch was cancelled, or that cells may be tried again
GROUPING_SHARE = 40  # such a part of the time at most goes into learning which groups a large batch has
FEW = 8  # seats; more of them always have a cell ready
TICK_S = 0.05  # how often lanes are asked for while nothing else happens
AHEAD_S = 0.2  # so much work lies ready for a caller whose calls are quick
SHOWN_EVERY_S = 1.0  # how often the batch's row says that it is looked after
CACHED_AT_ONCE = 200
MODEL = Prepared(lambda pk: RegisteredModel.objects.select_related("provider").filter(pk=pk), UUID)


class Crew:
    """Works on one batch from the thread of a permit. A context manager; leaving it gives all lanes back."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"[:128]
        self.panel = Panel(batch.experiment)
        self._limits = quotas.limits_of(batch.experiment.org)
        self._seats: list[Seat] = []
        self._ready: dict[Group, deque[Cell]] = defaultdict(deque)
        self._held: dict[UUID, Cell] = {}  # claimed and not recorded yet
        self._suspect: UUID | None = None  # the one of them that may be the death of this process
        self._outcomes: SimpleQueue[tuple[Seat, Outcome]] = SimpleQueue()
        self._exhausted: set[Group] = set()  # nothing was left to claim when we last looked
        self._begun: set[Group] = set()  # we have claimed of these before
        self._recorded = threading.Event()  # results have been shown
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._groups: list[Group] = []
        self._looked_at = self._regroup_at = -math.inf
        self._models: dict[UUID, RegisteredModel] = {}
        self._shown_at = -math.inf
        self._warned_at = -math.inf

    def __enter__(self) -> Crew:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(self._seats)
        for seat in self._seats:  # none is busy unless we leave by an exception
            seat.cut_off()
        self._forget(list(self._held.values()))
        self._ended.set()
        self._heart.join()
        routing.close_lanes([seat.lane for seat in self._seats])

    @property
    def has_lanes(self) -> bool:
        return bool(self._seats)

    @property
    def busy(self) -> bool:
        """Cells are in our hands."""
        return bool(self._held)

    @property
    def _nothing_more(self) -> bool:
        """No caller waits for a cell: all are claimed, as far as we know."""
        return self._exhausted.issuperset(self._groups)

    # What the permit's thread does

    def work(self) -> bool:
        """One round: write down what has come, claim for those who wait. False where no cell is left.

        While the database does not answer the calls in the air go on.
        """
        try:
            return self._round()
        except (OperationalError, InterfaceError):
            log.warning("the database does not answer, batch %s waits", self.batch.pk, exc_info=True)
            connections.close_all()
            time.sleep(recording.AGAIN_S)
            return True

    def _round(self) -> bool:
        if self._held:
            self._settle()
        if not self._look():
            self._give_back_ready()
            return False
        more = self.batch.use_cache and self._take_cached()
        for group in self._groups:
            more = self._serve(group) or more
        self._make_room()
        if more and not self._held:
            time.sleep(TICK_S)
        return more

    def finish(self, *, give_up_at: Callable[[], float]) -> None:
        """End the calls that are in the air and write them down; from `give_up_at` on, cut them off."""
        self._give_back_ready()
        self._leave(self._seats)
        while self._held:
            if time.monotonic() >= give_up_at():
                for seat in self._seats:
                    seat.cut_off()
            self._settle()
            self._close_left()

    def refresh(self) -> None:
        """Take over what people changed meanwhile: the batch's limits, the evaluators."""
        self.batch.refresh_from_db(fields=["parallel", "token_budget", "at_most_once"])
        self.panel = Panel(self.batch.experiment)
        self._limits = quotas.limits_of(self.batch.experiment.org)

    def _look(self) -> bool:
        """Learn which groups have cells to claim, now and then. False where the batch runs no more."""
        now = time.monotonic()
        emptied = bool(self._exhausted.intersection(self._groups))
        if now - self._looked_at < LOOK_S and not emptied:
            return True
        first, self._looked_at = self._looked_at == -math.inf, now
        if not first and not claiming.is_running(self.batch.pk):  # at first the permit has just seen it run
            self._groups = []
            return False
        if emptied or now >= self._regroup_at:
            self._groups = claiming.groups(self.batch.pk)
            self._exhausted = {seat.group for seat in self._seats}.difference(self._groups)
            self._regroup_at = now + (time.monotonic() - now) * GROUPING_SHARE
        return True

    def _serve(self, group: Group) -> bool:
        """Open lanes, and claim for all seats of this group. True while cells wait to be claimed."""
        seats = [seat for seat in self._seats if seat.group == group]
        most = min(settings.WORK_CALLS, self.batch.parallel)
        opened = self._open_lanes(group, most - len(self._seats))
        try:
            want = self._wanted(group, seats + opened)
            cells = self._claim(group, want)
        finally:  # where no claim is possible: a lane that no seat has would never be given back
            self._seat(opened)
        if cells:
            self._show()  # only now: calls come first
        if len(cells) < want:
            self._exhausted.add(group)
            return False
        return True

    def _open_lanes(self, group: Group, want: int) -> list[Seat]:
        model = self._model(group.model)
        if want <= 0 or model is None:
            return []
        org = self.batch.experiment.org
        caps = [
            routing.Cap(self.batch.pk, self.batch.parallel),
            routing.Cap(org.pk, self._limits.parallel_cells),
        ]
        try:
            lanes = routing.open_lanes(model, group.load_key, want, caps=caps)
        except EvalsuiteError as error:
            if time.monotonic() - self._warned_at > permits.GRACE_S:
                self._warned_at = time.monotonic()
                log.warning("batch %s waits: %s", self.batch.pk, error)
            return []
        return [Seat(lane, group, self.batch) for lane in lanes]

    def _wanted(self, group: Group, seats: Sequence[Seat]) -> int:
        """Cells to claim so that no seat waits until we look again."""
        staying = sum(not seat.leaving for seat in seats)
        idle = sum(not seat.leaving and seat.handle is None for seat in seats)
        return max(0, idle + self._ahead(group, staying) - len(self._ready[group]))

    def _ahead(self, group: Group, staying: int) -> int:
        """Cells that should lie ready beside those that are called.

        None at first: a crew that starts beside us now should find cells for its seats. Then, until we know
        how long calls take, one for each seat where nobody else may call for this batch.
        """
        if group not in self._begun:
            return 0
        call_s = pace.of(group)
        alone = float(staying >= self.batch.parallel)
        share = alone if call_s is None else min(2.0, AHEAD_S / max(call_s, 1e-3))
        return max(math.floor(staying * share), 1 if staying >= FEW else 0)

    def _claim(self, group: Group, want: int) -> list[Cell]:
        may_take_suspect = self._suspect is None and suspects.reserve(self.batch.pk)
        try:
            claim = claiming.claim(
                self.batch,
                group,
                want,
                self.worker,
                limits=self._limits,
                with_snapshot=bool(self.panel),
                suspect=may_take_suspect,
            )
            if claim.cells:
                self._take(group, claim.cells)
        finally:
            if may_take_suspect and self._suspect is None:
                suspects.free(self.batch.pk)
        if claim.refusal:
            claiming.pause_for_quota(self.batch.pk, claim.refusal)
        if claim.cells:
            self._begun.add(group)
        return claim.cells

    def _take(self, group: Group, cells: Sequence[Cell]) -> None:
        self._suspect = next((cell.run_id for cell in cells if cell.is_suspect), self._suspect)
        with self._changed:
            self._held.update((cell.run_id, cell) for cell in cells)
            self._ready[group].extend(cells)
            self._changed.notify_all()

    def _seat(self, seats: Sequence[Seat]) -> None:
        self._seats.extend(seats)
        for seat in seats:
            callers.pool.submit(self._sit, seat)

    def _make_room(self) -> None:
        """Close the lanes of seats without work, and those that somebody with precedence waits for."""
        if not self._seats:
            return
        staying = [seat for seat in self._seats if not seat.leaving]
        demanded = routing.in_demand([seat.lane for seat in self._seats])
        idle = [
            seat
            for seat in staying
            if seat.group in self._exhausted and seat.handle is None and not self._ready[seat.group]
        ]
        self._leave([*staying[:demanded], *idle])
        self._close_left()

    def _leave(self, seats: Sequence[Seat]) -> None:
        with self._changed:
            for seat in seats:
                seat.leaving = True
            self._changed.notify_all()

    def _close_left(self) -> None:
        left = [seat for seat in self._seats if seat.left]
        self._seats = [seat for seat in self._seats if not seat.left]
        for over in (False, True):
            lanes = [seat.lane for seat in left if (seat.group in self._exhausted) is over]
            if lanes:
                routing.close_lanes(lanes, over=over)

    def _give_back_ready(self) -> None:
        with self._changed:
            cells = [cell for ready in self._ready.values() for cell in ready]
            self._ready.clear()
        try:
            claiming.hand_back(self.batch.pk, cells)
        finally:  # where that fails, their leases end
            self._forget(cells)

    def _take_cached(self) -> bool:
        """Close cells whose answer is known already. True while there may be more."""
        cells = claiming.claim(self.batch, None, CACHED_AT_ONCE, self.worker).cells
        if not cells:
            return False
        originals = ExperimentRun.objects.in_bulk([cell.cached_from for cell in cells])
        known = [cell for cell in cells if cell.cached_from in originals]
        answers = [Answered(cell, earlier_answer(originals[cell.cached_from])) for cell in known]
        recording.record_for_certain(self.batch, self.panel, answers)
        # Where the original was deleted in this moment, the cell needs a call like any other.
        claiming.hand_back(self.batch.pk, [cell for cell in cells if cell.cached_from not in originals])
        return True

    def _show(self) -> None:
        """Tell the sweeper now and then that this batch is looked after."""
        now = time.monotonic()
        if now - self._shown_at < SHOWN_EVERY_S:
            return
        self._shown_at = now
        Batch.objects.filter(pk=self.batch.pk).update(
            permits_due_at=in_seconds(permits.GRACE_S), started_at=Coalesce("started_at", Now())
        )

    def _model(self, pk: UUID) -> RegisteredModel | None:
        if pk not in self._models and (found := MODEL.first(pk)):
            self._models[pk] = found
        return self._models.get(pk)

    # Results

    def _settle(self) -> None:
        """Wait for a result, let those close behind it come along, and write them down together."""
        came: list[tuple[Seat, Outcome]] = []
        try:
            came.append(self._outcomes.get(timeout=TICK_S))
        except Empty:
            return
        # The first one is shown at once.
        deadline = time.monotonic() + (GROUP_S if self._recorded.is_set() else 0)
        while len(came) < len(self._held):
            if not any(self._ready.values()):
                hurry = LAST_GROUP_S if self._nothing_more else HURRIED_GROUP_S
                deadline = min(deadline, time.monotonic() + hurry)
            try:
                came.append(self._outcomes.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                break
        outcomes = [outcome for _, outcome in came]
        errors = [outcome.error if isinstance(outcome, Failed) else None for outcome in outcomes]
        routing.report([(seat.lane.target, error) for (seat, _), error in zip(came, errors, strict=True)])
        try:
            recording.record_for_certain(self.batch, self.panel, outcomes)
        finally:  # where that fails, their leases end: nobody may renew them for ever
            self._recorded.set()
            self._forget([outcome.cell for outcome in outcomes])
        if not self._held and self._nothing_more:
            recording.finish_if_done(self.batch.pk)  # before the lanes are closed: somebody waits for the end

    def _forget(self, cells: Sequence[Cell]) -> None:
        with self._changed:
            for cell in cells:
                self._held.pop(cell.run_id, None)
        if self._suspect is not None and self._suspect not in self._held:
            self._suspect = None
            suspects.free(self.batch.pk)

    # What the callers do

    def _sit(self, seat: Seat) -> None:
        try:
            while (cell := self._next(seat)) is not None:
                begun = time.monotonic()
                outcome = seat.call(cell)
                pace.note(seat.group, time.monotonic() - begun)
                seat.handle = None
                self._outcomes.put((seat, outcome))
                # Sixty calls that begin at once would keep the interpreter from whoever writes this down.
                self._recorded.wait(FIRST_S)
        finally:
            seat.left = True

    def _next(self, seat: Seat) -> Cell | None:
        """The next cell for this seat; None when it is told to leave."""
        with self._changed:
            while not seat.leaving:
                if routing.pause_of(seat.lane.target):  # it has just asked to be left alone
                    seat.leaving = True
                    break
                ready = self._ready[seat.group]
                if ready:
                    seat.handle = CallHandle()
                    return ready.popleft().begun()
                self._changed.wait()
        return None

    def _beat(self) -> None:
        """Renew the leases of the cells in our hands."""
        while not self._ended.wait(settings.CELL_LEASE / 3):
            with self._changed:
                held = dict(self._held)
            try:
                for number in {cell.attempt for cell in held.values()}:
                    runs = [pk for pk, cell in held.items() if cell.attempt == number]
                    claiming.renew(runs, attempt=number)
            except DatabaseTrouble:
                # Two more beats before a lease ends; the calls themselves are fine.
                log.warning("a heartbeat of batch %s failed", self.batch.pk, exc_info=True)
            finally:
                connections.close_all()
