"""A small crew that works as the run engine does: lanes held over many calls, polled, closed when asked.

Runs as a process of its own as well: `python -m tests.llm_routing.crews`, told what to do on its stdin.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connections

POLL_S = 0.03
RETRY_S = 0.05


@dataclass
class Group:
    """Cells of one model and load key: prompts, with the moment from which each may be tried."""

    model: object
    load_key: str
    prompts: deque = field(default_factory=deque)
    left: int = 0  # not yet answered

    def __post_init__(self):
        self.prompts = deque((0.0, prompt) for prompt in self.prompts)
        self.left = len(self.prompts)
        self.lock = threading.Lock()  # several crews may share a group, as permits share a batch

    def ready(self):
        with self.lock:
            return sum(at <= time.monotonic() for at, _ in self.prompts)

    def next(self):
        with self.lock:
            for _ in range(len(self.prompts)):
                at, prompt = self.prompts.popleft()
                if at <= time.monotonic():
                    return prompt
                self.prompts.append((at, prompt))
        return None

    def again(self, prompt, after_s):
        with self.lock:
            self.prompts.append((time.monotonic() + after_s, prompt))

    def answered(self):
        with self.lock:
            self.left -= 1


class Crew:
    """Works until all prompts have an answer. `outcomes`: errors and None, in the order they came."""

    def __init__(self, groups, *, calls=16, caps=(), slice_s=1.0, deadline_s=60.0, num_ctx=4096):
        self.groups, self.calls, self.caps, self.slice_s = groups, calls, caps, slice_s
        self.deadline = time.monotonic() + deadline_s
        self.num_ctx = num_ctx
        self.outcomes = []
        self._lock = threading.Lock()
        self._lanes = {}
        self._done = []  # (target, error) to report
        self._ended = []  # lanes whose thread has stopped
        self._to_close = 0

    def start(self):
        self._gang = Gang([self])
        self._gang.start()

    def finish(self):
        self._gang.finish()

    def step(self):
        """One look at everything, as the coordinator of a permit does it. False when all is done."""
        from llm_routing import routing

        if not self._lanes and not any(group.left > 0 for group in self.groups):
            return False
        assert time.monotonic() < self.deadline, "the crew did not get done"
        with self._lock:
            self._to_close = routing.in_demand(list(self._lanes.values()))
            done, self._done = self._done, []
            ended, self._ended = self._ended, []
        routing.report(done)
        for lane, group in ended:
            routing.close_lanes([lane], over=not group.prompts)
            del self._lanes[lane.slot.holder]
        for group in self.groups:
            want = min(group.ready(), self.calls - len(self._lanes))
            for lane in routing.open_lanes(group.model, group.load_key, want, caps=self.caps):
                self._lanes[lane.slot.holder] = lane
                threading.Thread(target=self._hold, args=(lane, group), daemon=True).start()
        return True

    def _hold(self, lane, group):
        from llm_routing import routing

        until = time.monotonic() + self.slice_s
        while time.monotonic() < until and not routing.pause_of(lane.target):
            with self._lock:
                if self._to_close > 0:
                    self._to_close -= 1
                    break
                prompt = group.next()
            if prompt is None:
                break
            self._call(lane, group, prompt)
        with self._lock:
            self._ended.append((lane, group))

    def _call(self, lane, group, prompt):
        from evalsuite.errors import EvalsuiteError
        from llm_routing import routing
        from llm_routing.types import CompletionRequest, Message, Parameters

        request = CompletionRequest(
            group.model.name, (Message("user", prompt),), Parameters(num_ctx=self.num_ctx)
        )
        try:
            routing.whole(routing.call(lane.target, request))
        except EvalsuiteError as error:
            outcome = error
            group.again(prompt, getattr(error, "retry_after", None) or RETRY_S)
        else:
            outcome = None
            group.answered()
        with self._lock:
            self._done.append((lane.target, outcome))
            self.outcomes.append(outcome)


class Gang(threading.Thread):
    """Coordinates crews, one after the other: 64 permits need no 64 connections to the database."""

    def __init__(self, crews):
        super().__init__(daemon=True)
        self.crews = list(crews)
        self.problem = None

    def run(self):
        try:
            busy = self.crews
            while busy:
                busy = [crew for crew in busy if crew.step()]
                time.sleep(POLL_S)
        except BaseException as error:  # noqa: BLE001 - shown by the test that joins
            self.problem = error
        finally:
            connections.close_all()

    def finish(self):
        self.join(max(1.0, max(crew.deadline for crew in self.crews) - time.monotonic() + 5))
        if self.problem is not None:
            raise self.problem
        assert not self.is_alive()


def work(crews, *, threads=8):
    """Let crews work to the end. Seconds that it took."""
    started = time.monotonic()
    gangs = [Gang(part) for n in range(threads) if (part := crews[n::threads])]
    for gang in gangs:
        gang.start()
    for gang in gangs:
        gang.finish()
    return time.monotonic() - started


def main() -> None:
    """`{"model": id, "prompts": [...], "crews": n, "calls": n}` on stdin; prints "ready", then "done"."""
    import django

    django.setup()
    from llm_routing import gate_stores, slots
    from llm_routing.models import RegisteredModel

    order = json.loads(sys.stdin.readline())
    slots.LEASE_S = order.get("lease_s", slots.LEASE_S)
    slots.RENEW_S = order.get("renew_s", slots.RENEW_S)
    gate_stores.WIPED_GRACE_S = order.get("grace_s", gate_stores.WIPED_GRACE_S)
    model = RegisteredModel.objects.select_related("provider").get(pk=UUID(order["model"]))
    crews = []
    for number in range(order["crews"]):
        prompts = [f"{order['name']}-{number}-{n}" for n in range(order["prompts"])]
        crews.append(Crew([Group(model, "k", prompts)], calls=order["calls"], slice_s=0.3))
    print("ready", flush=True)
    work(crews, threads=4)
    print("done", flush=True)


if __name__ == "__main__":
    main()
