"""The one door to language models.

A call goes through, in order: the model resolved for the org (`resolution`), the org's limits,
an endpoint with a free slot, the provider, and the ledger. Nobody else calls a provider.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from uuid import UUID

from django.conf import settings

from evalsuite import databases, tracing
from evalsuite.errors import EvalsuiteError
from evalsuite.ids import new_id
from evalsuite.prepared import Prepared
from llm_routing import health, registry, slots, spans, warming
from llm_routing.errors import Cancelled, ProviderOverloaded, ProviderUnavailable
from llm_routing.gates import Door
from llm_routing.models import Endpoint, Provider, RegisteredModel
from llm_routing.providers.base import Provider as ProviderClient
from llm_routing.providers.calls import CallHandle
from llm_routing.types import Completion, CompletionRequest, Delta, Limits

log = logging.getLogger(__name__)

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.05
ENDPOINTS_KNOWN_S = 0.5  # how long a change of a provider's endpoints may take to be noticed


@dataclass(frozen=True, slots=True)
class Target:
    """Where the calls to one model go. Plain values: usable in any thread, without the database."""

    model_id: UUID
    model: str
    endpoint_id: UUID
    capacity: int  # slots of the endpoint
    kind: str
    base_url: str
    guarded: bool  # an org named the address
    limits: Limits
    api_key: str = field(default="", repr=False)
    weight: int = 1
    others: tuple[Target, ...] = ()  # the same model at the provider's other endpoints
    warm_up: slots.Slot | None = None  # the first call loads the model for all who wait

    @property
    def client(self) -> ProviderClient:
        return _client(self.kind, self.base_url, self.api_key, self.guarded)

    @property
    def door(self) -> Door:
        """Only Ollama loads models on demand, so only there do models take turns."""
        turns = self.kind == Provider.Kind.OLLAMA and settings.MODEL_TURN > 0
        return Door(self.endpoint_id, self.capacity, self.weight, turns)


@lru_cache(maxsize=128)
def _client(kind: str, base_url: str, api_key: str, guarded: bool) -> ProviderClient:
    """One client for each address, so that its connections are used again."""
    return registry.client_for(kind, base_url, api_key, guarded=guarded)


def target_for(model: RegisteredModel) -> Target:
    """Where to call this model, with the other places beside. Raises ProviderUnavailable without any."""
    first, *others = _targets_lately(model)
    return replace(first, others=tuple(others))


ENDPOINTS = Prepared(
    lambda provider: Endpoint.objects.filter(provider=provider, enabled=True).order_by("id"), UUID
)


def _targets(model: RegisteredModel) -> list[Target]:
    provider = model.provider
    targets = [
        Target(
            model_id=model.pk,
            model=model.name,
            endpoint_id=endpoint.pk,
            capacity=endpoint.slots,
            kind=provider.kind,
            base_url=endpoint.base_url,
            guarded=bool(provider.org_id),
            limits=provider.limits,
            api_key=provider.api_key,
            weight=endpoint.weight,
        )
        for endpoint in ENDPOINTS.all(provider.pk)
    ]
    if not targets:
        raise ProviderUnavailable(f"The provider {provider.slug} has no endpoint that is switched on.")
    return targets


_known_targets: dict[UUID, tuple[float, list[Target]]] = {}


def _targets_lately(model: RegisteredModel) -> list[Target]:
    """As `_targets`, for those who ask many times a second."""
    now = time.monotonic()
    if (known := _known_targets.get(model.pk)) and now - known[0] < ENDPOINTS_KNOWN_S:
        return known[1]
    if len(_known_targets) > 1000:
        _known_targets.clear()
    targets = _targets(model)
    _known_targets[model.pk] = (now, targets)
    return targets


@dataclass(frozen=True, slots=True)
class Cap:
    """A bound on calls in the air besides the endpoint's own, such as a batch's or an org's."""

    scope: UUID
    most: int


@dataclass(frozen=True, slots=True)
class Lane:
    """The right to make one call after another at one endpoint, until it is closed.

    Call by its own `target`: it knows whether its first call has a model to load.
    """

    target: Target
    slot: slots.Slot


def open_lanes(model: RegisteredModel, load_key: str, want: int, *, caps: Sequence[Cap] = ()) -> list[Lane]:
    """Up to `want` lanes for calls to `model` with these load-time options. Never waits; cheap when refused.

    Fewer, or none, where slots or caps are taken, where a person waits, where the endpoint is held after
    failures, and where an Ollama works for another (model, load_key). The first lane of such a turn comes
    alone: its first `call` loads the model, and the others are there to be had as soon as that is done.
    `caps[0]`, where there is one, says whose the work is (a batch's scope): turns end early only for others.
    Raises ProviderUnavailable where there is nowhere to call, and while Redis does not answer.
    """
    targets = {target.endpoint_id: target for target in _targets_lately(model)}
    taken = slots.take(
        [target.door for target in targets.values()],
        want,
        caps=[(cap.scope, cap.most) for cap in caps],
        key=_turn_key(model.pk, load_key),
        tag=caps[0].scope.hex[-12:] if caps else "",
        turn_s=settings.MODEL_TURN,
    )
    return [Lane(_lane_target(targets[slot.endpoint], slot), slot) for slot in taken]


def _turn_key(model_id: UUID, load_key: str) -> str:
    return hashlib.blake2s(f"{model_id.hex} {load_key}".encode(), digest_size=6).hexdigest()


def _lane_target(target: Target, slot: slots.Slot) -> Target:
    if not slot.warm_up:
        return target
    warming.expect(slot)
    return replace(target, warm_up=slot)


def close_lanes(lanes: Sequence[Lane], *, over: bool = False) -> None:
    """Give lanes back. Closing one that was lost already does nothing.

    `over`: the caller knows of no more work for this model and load key, so another's turn can begin at
    once. Otherwise the turn is kept for TURN_GRACE_S, for the next permit of the batch.
    """
    held = [lane.slot for lane in lanes]
    warming.forget(held)
    slots.release(held, over=over)


def in_use(scope: UUID) -> int:
    """How many lanes are open now under a cap; 0 where that cannot be told."""
    return slots.holders(scope)


def in_demand(lanes: Sequence[Lane]) -> int:
    """How many of these lanes to close after their current calls. Cheap; never raises.

    A person waits for a slot, a limit was lowered, the endpoint is held after failures, or its turn is over.
    """
    stopped = [lane.slot for lane in lanes if health.pause_of(lane.target.endpoint_id)]
    others = [lane.slot for lane in lanes if not health.pause_of(lane.target.endpoint_id)]
    return len(stopped) + slots.to_leave(others, settings.MODEL_TURN)


def pause_of(target: Target) -> float:
    """Seconds for which the target wants no call, as far as this process knows; 0: call. Asks nobody.

    A thread that holds a lane looks here before it takes its next cell: a server that has just said
    Retry-After must not hear from us at once.
    """
    return health.pause_of(target.endpoint_id)


def report(outcomes: Sequence[tuple[Target, EvalsuiteError | None]]) -> None:
    """How calls ended, in order, for the circuit breaker that all processes share. None: with an answer.

    Five failures in a row hold an endpoint for 5 s, then twice as long up to 120 s, with one probe after
    each; a Retry-After holds it for as long as it says. Never raises: the breaker may learn of it later.
    """
    by_endpoint: dict[UUID, list[EvalsuiteError | None]] = defaultdict(list)
    for target, error in outcomes:
        by_endpoint[target.endpoint_id].append(error)
    for endpoint, errors in by_endpoint.items():
        health.report(endpoint, errors)


def call(
    target: Target, request: CompletionRequest, *, handle: CallHandle | None = None
) -> Iterator[Delta | Completion]:
    """One call by a caller who holds a slot of the target. Touches no database of the caller's thread.

    Yields deltas and, last, the Completion. Raises the errors of `llm_routing.errors`.
    """
    events = _call(target, request, handle)
    if tracing.tracer is None:
        return events
    return spans.traced(target.kind, target.base_url, request, events)


def _call(
    target: Target, request: CompletionRequest, handle: CallHandle | None
) -> Iterator[Delta | Completion]:
    try:
        with warming.first(target.warm_up, target.client, request, target.limits, handle):
            yield from target.client.stream(request, limits=target.limits, handle=handle)
        health.note(target.endpoint_id, None)
    except EvalsuiteError as error:
        health.note(target.endpoint_id, error)
        raise


def stream(
    target: Target,
    request: CompletionRequest,
    *,
    wait_s: float,
    handle: CallHandle | None = None,
    gone_elsewhere: Callable[[EvalsuiteError], object] = lambda _: None,
) -> Iterator[Delta | Completion]:
    """A call for a person: wait for a free slot, ahead of all batches, then call.

    Where an endpoint cannot be reached or refuses for now, another one is tried, until the first delta
    has come; `gone_elsewhere` is told why. Closing the iterator ends the call at the provider.
    Raises ProviderOverloaded where no slot comes free within `wait_s`, ProviderUnavailable where all
    endpoints are held after failures for longer than that, else as `call`.
    """
    deadline = time.monotonic() + wait_s
    left = {each.endpoint_id: each for each in (target, *target.others)}
    while True:
        slot = _wait_for_slot(left, deadline, handle)
        current = left.pop(slot.endpoint)
        databases.let_go()  # a model may write for minutes, and connections are few
        begun = False
        try:
            for event in call(current, request, handle=handle):
                begun = True
                yield event
        except EvalsuiteError as error:
            report([(current, error)])
            if begun or not left or not health.elsewhere(error):
                raise
            gone_elsewhere(error)
            log.info("tries another endpoint than %s: %s", current.base_url, error.code)
        else:
            report([(current, None)])
            return
        finally:
            slots.release([slot])


def whole(events: Iterator[Delta | Completion]) -> Completion:
    """The completion at the end of a `call` or a `stream`. Run to its end: there is a success to note."""
    completion: Completion | None = None
    for event in events:
        if isinstance(event, Completion):
            completion = event
    if completion is None:
        raise AssertionError("a provider's stream ended without a Completion")
    return completion


def _wait_for_slot(targets: Mapping[UUID, Target], deadline: float, handle: CallHandle | None) -> slots.Slot:
    doors = [target.door for target in targets.values()]
    waiter = new_id()
    pause = FIRST_POLL_S
    slot: slots.Slot | None = None
    try:
        while (slot := slots.take_or_wait(doors, waiter)) is None:
            left = deadline - time.monotonic()
            _require_hope(doors, left, handle)
            time.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311 - spreads the waiting
            pause = min(pause * 1.5, LONGEST_POLL_S)
    finally:
        if slot is None:
            slots.leave_line(doors, waiter)
    return slot


def _require_hope(doors: Sequence[Door], left: float, handle: CallHandle | None) -> None:
    """Raises where nobody waits any more, or nothing can come free within the `left` seconds."""
    if handle and handle.cancelled:
        raise Cancelled("The request was cancelled while it waited.")
    held = min(slots.held_for(door.scope) for door in doors)
    if held > max(left, 0):
        raise ProviderUnavailable(
            f"The server fails at the moment. It is tried again in {held:.0f} s.", retry_after=held
        )
    if left <= 0:
        capacity = sum(door.capacity for door in doors)
        raise ProviderOverloaded(
            f"All {capacity} slots of the server are busy. Try again in a moment.", retry_after=5
        )
