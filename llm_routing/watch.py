"""What Prometheus is told of the endpoints when it asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

import redis

from evalsuite.metrics import families, hooks
from llm_routing import slots
from llm_routing.models import Endpoint

log = logging.getLogger(__name__)


def register() -> None:
    hooks.register_gauges("llm_routing.endpoints", endpoints)


def endpoints() -> Iterator[hooks.Sample]:
    """Slots and health of each endpoint that is switched on; nothing while Redis, which knows, is away."""
    on = Endpoint.objects.filter(enabled=True, provider__enabled=True).select_related("provider")
    found = list(on.order_by("id"))
    try:
        seen = slots.store().look([endpoint.pk for endpoint in found]).gates if found else {}
    except redis.RedisError as error:
        log.warning("Redis does not answer: %s", error)
        return
    for endpoint in found:
        gate = seen[endpoint.pk]
        owner = str(endpoint.provider.org_id or "")
        labels = (owner, endpoint.provider.slug, _address(endpoint.base_url))
        yield families.SLOTS, labels, endpoint.slots
        yield families.SLOTS_IN_USE, labels, len(gate.holders)
        yield families.WAITING, labels, len(gate.waiters)
        yield families.PROVIDER_UP, labels, 0 if gate.is_tripped else 1


def _address(url: str) -> str:
    """Host, port and path: a user and password in it are nobody's business."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
