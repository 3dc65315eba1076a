"""Downloading a model onto an Ollama, and telling how far it has come.

The download lasts as long as somebody follows it: closing the iterator, or `handle.cancel()`, ends it at
the server. What has come by then stays there, so that the same pull again goes on from it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evalsuite.audit.services import record
from evalsuite.errors import Conflict, EvalsuiteError, InvalidBody
from evalsuite.orgs.models import Org, User
from llm_routing import provider_services, registry
from llm_routing.errors import AnswerTooLarge, ProviderUnavailable
from llm_routing.models import Provider
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.ollama import OllamaProvider, PullProgress
from llm_routing.types import Limits

# Checking the digest of many gigabytes is silent work; a large model on a thin line takes hours.
LIMITS = Limits(connect_s=3, first_token_s=60, idle_s=600, total_s=12 * 3600)
TOLD_EVERY_S = 0.2  # the server tells of its progress far more often
MOST_LAYERS = 1_000
MOST_PHASES = 50
LONGEST_STATUS = 200  # characters
LONGEST_NAME = 256
# [host[:port]/][namespace/]model[:tag]
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
NAME = re.compile(rf"(?:{_PART}(?::[0-9]{{1,5}})?/)?(?:{_PART}/)?{_PART}(?::{_PART})?")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download has come. `total_bytes` grows as layers become known; None: nothing to load yet."""

    endpoint: int  # which of them it is about, from 1
    endpoints: int
    status: str  # in the server's words
    completed_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Pull:
    """A download that may begin."""

    provider: Provider
    org: Org
    actor: User
    model: str
    servers: tuple[OllamaProvider, ...]


def prepare(provider: Provider, *, org: Org, actor: User, model: str) -> Pull:
    """Raises InvalidBody for what is no name of a model, PermissionDenied, Conflict for other kinds."""
    provider_services.require_manager(provider, org, actor)
    if len(model) > LONGEST_NAME or not NAME.fullmatch(model):
        raise InvalidBody({"modelName": ["This is no name of a model, such as llama3.2:1b."]})
    if provider.kind != Provider.Kind.OLLAMA:
        raise Conflict("Only an Ollama pulls models. Load them at this server itself.")
    clients = [
        registry.client_for(provider.kind, endpoint.base_url, provider.api_key, guarded=bool(provider.org_id))
        for endpoint in provider.endpoints.filter(enabled=True)
    ]
    servers = tuple(client for client in clients if isinstance(client, OllamaProvider))
    if not servers:
        raise ProviderUnavailable(f"The provider {provider.slug} has no endpoint that is switched on.")
    return Pull(provider, org, actor, model, servers)


def run(pull: Pull, *, handle: CallHandle) -> Iterator[Progress | registry.SyncResult]:
    """Load the model onto each endpoint in turn, then bring the registry in step: the result is the last.

    Raises the provider's error, Cancelled after our own cancel.
    """
    _tell(pull, "model.pull.started")
    outcome = "CANCELLED"  # also where the iterator is closed
    try:
        for number, server in enumerate(pull.servers, start=1):
            yield from _load(server, pull.model, number, len(pull.servers), handle)
        result = registry.sync_provider(
            pull.provider, tell=lambda _: _tell(pull, "model.pull.ended", outcome="SUCCEEDED")
        )
        outcome = ""
    except EvalsuiteError as error:
        outcome = "CANCELLED" if handle.cancelled else error.code
        raise
    finally:
        if outcome:
            _tell(pull, "model.pull.ended", outcome=outcome)
    yield result


def _tell(pull: Pull, event: str, **facts: Any) -> None:
    record(
        event,
        org=pull.org,
        actor=pull.actor,
        subject=pull.provider,
        after={"modelProvider": pull.provider.slug, "modelName": pull.model, **facts},
    )


def _load(server: OllamaProvider, model: str, number: int, of: int, handle: CallHandle) -> Iterator[Progress]:
    layers = _Layers()
    told_at, phase, phases = 0.0, "", 0
    for step in server.pull(model, limits=LIMITS, handle=handle):
        layers.add(step)
        new_phase = "layers" if step.digest else step.status
        changed = new_phase != phase and phases < MOST_PHASES
        now = time.monotonic()
        if changed or now - told_at >= TOLD_EVERY_S or step.status == "success":
            phase, phases, told_at = new_phase, phases + changed, now
            yield Progress(number, of, step.status[:LONGEST_STATUS], *layers.sums())


@dataclass(slots=True)
class _Layers:
    """A model comes in layers, each with its own count."""

    known: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, step: PullProgress) -> None:
        if step.digest is None or step.total_bytes is None:
            return
        if len(self.known) >= MOST_LAYERS and step.digest not in self.known:
            raise AnswerTooLarge(f"The server tells of more than {MOST_LAYERS:,} layers.")
        self.known[step.digest] = (min(step.completed_bytes or 0, step.total_bytes), step.total_bytes)

    def sums(self) -> tuple[int | None, int | None]:
        if not self.known:
            return None, None
        return sum(done for done, _ in self.known.values()), sum(total for _, total in self.known.values())
