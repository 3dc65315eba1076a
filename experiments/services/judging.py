"""Working on one evaluator's queue, from a permit on: until nothing is claimable, or others wait.

Much simpler than the crew of a batch: judging is never the fastest part of a run. One thread claims and
records, a few call, each on a lane of its own. No transaction is open during a call.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Min, OuterRef

from evalsuite import context
from evalsuite.errors import EvalsuiteError
from evalsuite.quotas import services as quotas
from experiments.evaluators.base import Evaluator as EvaluatorCode
from experiments.evaluators.base import Verdict
from experiments.evaluators.calling import CallingEvaluator, NoVerdict
from experiments.evaluators.registry import build
from experiments.models import Batch, Evaluation, Evaluator
from experiments.services import claiming, evaluation_queue, permits
from experiments.services.drafting import load_key
from experiments.services.evaluation import verdict_on
from experiments.services.evaluation_queue import Task
from experiments.services.evaluation_records import Ended, record_for_certain
from experiments.services.execution import PATIENCE_S, stopping
from llm_routing import resolution, routing
from llm_routing.errors import InvalidAnswer
from llm_routing.providers.calls import CallHandle
from llm_routing.resolution import Settings
from llm_routing.routing import Lane
from llm_routing.types import Completion, CompletionRequest

log = logging.getLogger(__name__)

MOST_CALLS = 16  # in the air for one evaluator, over all processes
GROUP = 200  # evaluations without a call that share a transaction
TICK_S = 0.05
SHOWN_EVERY_S = 1.0


class Drain(Enum):
    """Why a permit is given back."""

    NOTHING_TO_CLAIM = auto()
    TURN_OVER = auto()  # others wait, and there is more to do here
    NO_LANE = auto()  # all that could be called at is busy
    CHANGED = auto()  # the evaluator is another one than when we began
    LIMIT = auto()  # of the org; the queue goes on by itself when there is room
    STOPPED = auto()  # this process is told to end


def drain(evaluator_id: UUID) -> Drain:
    """Work on an evaluator's queue until nothing is claimable or the time slice is over."""
    if stopping.event.is_set():
        return Drain.STOPPED
    rows = Evaluator.objects.select_related("experiment__org", "metric")
    evaluator = rows.filter(pk=evaluator_id).first()
    if evaluator is None or not evaluation_queue.claimable(evaluator_id).exists():
        return Drain.NOTHING_TO_CLAIM
    if not evaluator.enabled:
        evaluation_queue.close_switched_off(evaluator_id)
        return Drain.NOTHING_TO_CLAIM
    evaluation_queue.looked_after(evaluator_id)
    code = build(evaluator.kind, evaluator.config)
    why = _call(evaluator, code) if isinstance(code, CallingEvaluator) else _compute(evaluator, code)
    if why is not Drain.LIMIT:
        _see_to_the_rest(evaluator_id, why)
    return why


def _see_to_the_rest(evaluator_id: UUID, why: Drain) -> None:
    """A permit stays on its way while there is work; for what waits for its pause the sweeper has one."""
    queued = Evaluation.objects.filter(evaluator=evaluator_id, state=Evaluation.State.QUEUED)
    earliest = queued.aggregate(earliest=Min("not_before"))["earliest"]
    Evaluator.objects.filter(pk=evaluator_id).update(permits_due_at=earliest, waits_for="")
    ready = evaluation_queue.claimable(evaluator_id).exists()
    if why is not Drain.STOPPED and ready and not routing.in_use(evaluator_id):
        evaluation_queue.looked_after(evaluator_id)
        permits.publish_evaluation(evaluator_id)


def _others_wait(evaluator_id: UUID) -> bool:
    """Batches have cells, or other evaluators have answers, that could be worked on now."""
    cells = Exists(claiming.claimable(OuterRef("pk")))  # type: ignore[arg-type]
    if Batch.objects.filter(cells, state=Batch.State.RUNNING).exists():
        return True
    answers = Exists(evaluation_queue.claimable(OuterRef("pk")))
    return Evaluator.objects.filter(answers).exclude(pk=evaluator_id).exists()


class _Slice:
    """How long this permit may work, and its signs of life."""

    def __init__(self, evaluator_id: UUID) -> None:
        self.evaluator_id = evaluator_id
        self._end = time.monotonic() + settings.WORK_SLICE
        self._show_at = time.monotonic() + SHOWN_EVERY_S

    def is_over(self) -> bool:
        now = time.monotonic()
        if now >= self._show_at:
            self._show_at = now + SHOWN_EVERY_S
            evaluation_queue.looked_after(self.evaluator_id)
        if now < self._end:
            return False
        self._end = now + settings.WORK_SLICE
        return _others_wait(self.evaluator_id)


# Without a call


def _compute(evaluator: Evaluator, code: EvaluatorCode) -> Drain:
    slice_ = _Slice(evaluator.pk)
    while not stopping.event.is_set():
        claim = evaluation_queue.claim(evaluator, code, GROUP)
        if not claim.tasks:
            return Drain.CHANGED if claim.changed else Drain.NOTHING_TO_CLAIM
        ended = [Ended(task, verdict=verdict_on(task.sample, code, evaluator.metric)) for task in claim.tasks]
        record_for_certain(evaluator, ended)
        if slice_.is_over():
            return Drain.TURN_OVER
    return Drain.STOPPED


# With calls


def _call(evaluator: Evaluator, code: CallingEvaluator) -> Drain:
    org = evaluator.experiment.org
    try:
        chosen = resolution.resolve(org, profile=None, explicit=code.parameters, system_prompt=None)
    except EvalsuiteError as error:
        return _refuse_all(evaluator, code, error)
    with Bench(evaluator, code, chosen) as bench:
        return bench.work()


def _refuse_all(evaluator: Evaluator, code: CallingEvaluator, error: EvalsuiteError) -> Drain:
    """There is no such model for this org (any more): each evaluation ends with that reason."""
    while tasks := evaluation_queue.claim(evaluator, code, GROUP).tasks:
        record_for_certain(evaluator, [Ended(task, error=error) for task in tasks])
    return Drain.NOTHING_TO_CLAIM


@dataclass(slots=True)
class Seat:
    """A lane, and what is in the air on it."""

    lane: Lane
    handle: CallHandle = field(default_factory=CallHandle)
    task: Task | None = None
    leaving: bool = False


class Bench:
    """The judges of one evaluator in this process. A context manager; leaving it gives all lanes back."""

    def __init__(self, evaluator: Evaluator, code: CallingEvaluator, chosen: Settings) -> None:
        self.evaluator = evaluator
        self.code = code
        self.chosen = chosen
        self.org = evaluator.experiment.org
        self.limits = quotas.limits_of(self.org)
        self._seats: list[Seat] = []
        self._air: dict[Future[Ended], Seat] = {}
        self._pool = ThreadPoolExecutor(MOST_CALLS, thread_name_prefix="judge")
        self._renewed_at = time.monotonic()
        self._warned = False

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:  # none is busy unless we leave by an exception
            seat.handle.cancel()
        self._pool.shutdown(wait=False)
        routing.close_lanes([seat.lane for seat in self._seats])

    def work(self) -> Drain:
        why = self._work()
        self._finish()
        return why

    def _work(self) -> Drain:
        slice_ = _Slice(self.evaluator.pk)
        had_lanes_at = time.monotonic()
        while not stopping.event.is_set():
            self._settle()
            self._make_room()
            self._open_lanes()
            now = time.monotonic()
            if self._seats:
                had_lanes_at = now
            elif now - had_lanes_at > PATIENCE_S:
                return Drain.NO_LANE
            why = self._fill_seats()
            if why is not None and (why is not Drain.NOTHING_TO_CLAIM or not self._air):
                return why
            if slice_.is_over():
                return Drain.TURN_OVER
            if not self._air:
                time.sleep(TICK_S)
        return Drain.STOPPED

    def _open_lanes(self) -> None:
        want = MOST_CALLS - len(self._seats)
        if want <= 0 or (self._seats and not evaluation_queue.claimable(self.evaluator.pk).exists()):
            return
        caps = [
            routing.Cap(self.evaluator.pk, MOST_CALLS),
            routing.Cap(self.org.pk, self.limits.parallel_cells),
        ]
        key = load_key(self.chosen.model, self.chosen.parameters)
        try:
            lanes = routing.open_lanes(self.chosen.model, key, want, caps=caps)
        except EvalsuiteError as error:
            if not self._warned:
                self._warned = True
                log.warning("evaluator %s waits: %s", self.evaluator.pk, error)
            return
        self._seats += [Seat(lane) for lane in lanes]

    def _fill_seats(self) -> Drain | None:
        """Claim for all idle seats. Why not all have work now; None where they have."""
        idle = [seat for seat in self._seats if seat.task is None and not seat.leaving]
        if not idle:
            return None
        claim = evaluation_queue.claim(
            self.evaluator, self.code, len(idle), chosen=self.chosen, limits=self.limits
        )
        for seat, task in zip(idle, claim.tasks, strict=False):
            seat.task, seat.handle = task, CallHandle()
            self._air[self._pool.submit(self._ask, seat.lane, seat.handle, task)] = seat
        if claim.refusal is not None:
            again_in, reason = claim.refusal.retry_after, str(claim.refusal)
            evaluation_queue.looked_after(self.evaluator.pk, again_in=again_in, waits_for=reason)
            return Drain.LIMIT
        if claim.changed:
            return Drain.CHANGED
        return None if claim.tasks else Drain.NOTHING_TO_CLAIM

    def _settle(self) -> None:
        """Write down what has come."""
        if not self._air:
            return
        done, _ = wait(self._air, timeout=TICK_S, return_when=FIRST_COMPLETED)
        if done:
            came = [(self._air.pop(future), future.result()) for future in done]
            routing.report([(seat.lane.target, ended.error) for seat, ended in came])
            for seat, _ in came:
                seat.task = None
            record_for_certain(self.evaluator, [ended for _, ended in came])
        if time.monotonic() - self._renewed_at > settings.CELL_LEASE / 3:
            self._renewed_at = time.monotonic()
            evaluation_queue.renew([seat.task for seat in self._seats if seat.task])

    def _make_room(self) -> None:
        """Close the lanes that somebody with precedence waits for, and those of servers that want a pause."""
        if not self._seats:
            return
        staying = [seat for seat in self._seats if not seat.leaving]
        demanded = routing.in_demand([seat.lane for seat in self._seats])
        for seat in staying[:demanded]:
            seat.leaving = True
        for seat in staying:
            if routing.pause_of(seat.lane.target):
                seat.leaving = True
        left = [seat for seat in self._seats if seat.leaving and seat.task is None]
        self._seats = [seat for seat in self._seats if seat not in left]
        routing.close_lanes([seat.lane for seat in left])

    def _finish(self) -> None:
        """End the calls that are in the air and write them down; cut them off where the process must end."""
        while self._air:
            if time.monotonic() >= stopping.give_up_at:
                for seat in self._seats:
                    seat.handle.cancel()
            self._settle()

    # What the callers do

    def _ask(self, lane: Lane, handle: CallHandle, task: Task) -> Ended:
        """Never raises: whatever goes wrong is how this attempt ended."""
        if task.question is None:
            raise AssertionError("this was claimed for no call")
        request = CompletionRequest(
            model=self.chosen.model.name,
            messages=task.question.messages,
            parameters=replace(self.chosen.parameters, format=task.question.schema),
        )
        context.work.set(context.Work(run=task.run_id))  # the thread is ours alone
        try:
            completion = routing.whole(routing.call(lane.target, request, handle=handle))
        except InvalidAnswer as error:
            if error.completion is None:
                return Ended(task, error=error)
            completion = error.completion  # we look for ourselves what is wrong with it
        except EvalsuiteError as error:
            return Ended(task, error=error)
        except Exception:
            log.exception("the call for evaluation %s broke", task.evaluation_id)
            return Ended(task, error=EvalsuiteError("Something broke on our side; the log has the reason."))
        return self._read(task, completion)

    def _read(self, task: Task, completion: Completion) -> Ended:
        try:
            verdict = self.code.read(completion)
        except NoVerdict as nothing:
            return Ended(
                task,
                verdict=Verdict(None, nothing.reason),
                completion=completion,
                ask_again=nothing.ask_again,
            )
        except Exception as error:
            log.exception("the evaluator %s failed", self.code.kind)
            reason = f"The evaluator failed: {type(error).__name__}."
            return Ended(task, verdict=Verdict(None, reason), completion=completion)
        return Ended(task, verdict=verdict, completion=completion)
