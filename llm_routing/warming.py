"""Loading a model before the first call of its turn, once, while all others wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import Error as DatabaseTrouble
from django.db import connections

from evalsuite.metrics.changes import Changes
from evalsuite.metrics.families import MODEL_LOADS
from llm_routing import slots
from llm_routing.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from llm_routing.gates import Gate
from llm_routing.models import Endpoint
from llm_routing.providers.base import Provider
from llm_routing.providers.calls import CallHandle
from llm_routing.types import CompletionRequest, Limits

log = logging.getLogger(__name__)

_expected: set[UUID] = set()  # holders whose next call loads the model first


def expect(slot: slots.Slot) -> None:
    _expected.add(slot.holder)


def forget(held: Iterable[slots.Slot]) -> None:
    _expected.difference_update(slot.holder for slot in held)


@contextmanager
def first(
    slot: slots.Slot | None,
    client: Provider,
    request: CompletionRequest,
    limits: Limits,
    handle: CallHandle | None,
) -> Iterator[None]:
    """Around a call: where its slot is to load the model, do that first, and then let the others in.

    A server that cannot load without a prompt loads at the call itself; the others are let in after it.
    Raises ProviderUnavailable, ProviderTimeout or Cancelled; the next call tries to load again then.
    """
    if slot is None or slot.holder not in _expected:
        yield
        return
    try:
        waited = client.warm_up(request, limits=limits, handle=handle)
    except (ProviderUnavailable, ProviderTimeout):
        raise
    except ProviderError as error:
        if handle is not None and handle.cancelled:
            raise
        log.info("%s was not loaded beforehand: %s", request.model, error.code)
        yield
        _loaded(slot)
    else:
        _loaded(slot, loads=request.model if waited else "")
        yield


def _loaded(slot: slots.Slot, *, loads: str = "") -> None:
    """`loads`: the model, where this was a load that we have seen."""
    _expected.discard(slot.holder)
    # Aside, since the caller's thread may have no database, or a transaction of its own.
    aside = threading.Thread(target=_tell, args=(slot, loads), name="model-loaded")
    aside.start()
    aside.join()


def _tell(slot: slots.Slot, loads: str) -> None:
    def alter(gate: Gate) -> None:
        gate.loaded(slot.key)

    try:
        slots.change_gate(slot.endpoint, alter)
        if loads:
            _count(slot, loads)
    except (ProviderUnavailable, DatabaseTrouble):
        # When the lane is closed the next one loads again, which costs nothing.
        log.warning("that %s is loaded could not be noted", slot.key, exc_info=True)
    finally:
        connections.close_all()


def _count(slot: slots.Slot, model: str) -> None:
    changes = Changes()
    for slug in Endpoint.objects.filter(pk=slot.endpoint).values_list("provider__slug", flat=True):
        changes.count(MODEL_LOADS, slug, model)
    changes.save()
