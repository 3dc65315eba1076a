"""The one door to language models.

A call goes through, in order: the model resolved for the org (`resolution`), the org's limits,
an endpoint with a free slot, the provider, and the ledger. Nobody else calls a provider.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from evalsuite.orgs.models import Org
from evalsuite.quotas import services as quotas
from evalsuite.quotas.models import UsageRecord
from llm_routing import registry, slots
from llm_routing.errors import Cancelled, ProviderOverloaded, ProviderUnavailable
from llm_routing.models import Endpoint, RegisteredModel
from llm_routing.providers.base import Provider as ProviderClient
from llm_routing.providers.transport import CallHandle
from llm_routing.types import Completion, CompletionRequest, Delta, Limits

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.25


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

    @property
    def client(self) -> ProviderClient:
        return _client(self.kind, self.base_url, self.api_key, self.guarded)


@lru_cache(maxsize=128)
def _client(kind: str, base_url: str, api_key: str, guarded: bool) -> ProviderClient:
    """One client for each address, so that its connections are used again."""
    return registry.client_for(kind, base_url, api_key, guarded=guarded)


def target_for(model: RegisteredModel) -> Target:
    """The endpoint to call this model at. Raises ProviderUnavailable where none is enabled."""
    endpoint = Endpoint.objects.filter(provider=model.provider, enabled=True).order_by("id").first()
    if endpoint is None:
        raise ProviderUnavailable(f"The provider {model.provider.slug} has no endpoint that is switched on.")
    return Target(
        model_id=model.pk,
        model=model.name,
        endpoint_id=endpoint.pk,
        capacity=endpoint.slots,
        kind=model.provider.kind,
        base_url=endpoint.base_url,
        guarded=bool(model.provider.org_id),
        limits=model.provider.limits,
        api_key=model.provider.api_key,
    )


def call(
    target: Target, request: CompletionRequest, *, handle: CallHandle | None = None
) -> Iterator[Delta | Completion]:
    """One call by a caller who holds a slot of the target. Touches no database.

    Yields deltas and, last, the Completion. Raises the errors of `llm_routing.errors`.
    """
    return target.client.stream(request, limits=target.limits, handle=handle)


def stream(
    target: Target, request: CompletionRequest, *, wait_s: float, handle: CallHandle | None = None
) -> Iterator[Delta | Completion]:
    """Wait for a free slot, then call. Closing the iterator ends the call at the provider.

    Raises ProviderOverloaded where no slot comes free within `wait_s`, else as `call`.
    """
    slot = _wait_for_slot(target, wait_s, handle)
    try:
        yield from call(target, request, handle=handle)
    finally:
        slots.release([slot])


def whole(events: Iterator[Delta | Completion]) -> Completion:
    """The completion at the end of a `call` or a `stream`."""
    for event in events:
        if isinstance(event, Completion):
            return event
    raise AssertionError("a provider's stream ended without a Completion")


def _wait_for_slot(target: Target, wait_s: float, handle: CallHandle | None) -> slots.Slot:
    deadline = time.monotonic() + wait_s
    pause = FIRST_POLL_S
    while True:
        if taken := slots.acquire(target.endpoint_id, target.capacity, 1):
            return taken[0]
        if handle and handle.cancelled:
            raise Cancelled("The request was cancelled while it waited.")
        if time.monotonic() >= deadline:
            raise ProviderOverloaded(
                f"All {target.capacity} slots of the server are busy. Try again in a moment.", retry_after=5
            )
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the waiting, no secret
        pause = min(pause * 1.5, LONGEST_POLL_S)


@dataclass(frozen=True, slots=True)
class Usage:
    """One recorded call, for the ledger. `attempt` makes counting it twice impossible."""

    attempt: UUID
    kind: UsageRecord.Kind
    provider: str
    model: str
    input_tokens: int | None
    output_tokens: int | None


def account(org: Org, calls: Sequence[Usage]) -> None:
    """Write calls into the ledger. Call it in the transaction that records their results."""
    quotas.account(
        [
            UsageRecord(
                org=org,
                attempt=usage.attempt,
                kind=usage.kind,
                model_provider=usage.provider,
                model_name=usage.model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
            )
            for usage in calls
        ]
    )
