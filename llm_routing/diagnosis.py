"""Whether a provider's servers can be used, and if not why, in plain words."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID

from evalsuite.errors import EvalsuiteError
from llm_routing import registry
from llm_routing.errors import (
    BrokenStream,
    Obstacle,
    ProviderError,
    ProviderOverloaded,
    ProviderTimeout,
    WrongServer,
)
from llm_routing.models import Provider
from llm_routing.types import Limits, Probe

LIMITS = Limits(connect_s=3, first_token_s=5, idle_s=5, total_s=8)
AT_ONCE = 16  # endpoints that are asked in parallel


class Finding(StrEnum):
    """What a test found, for programs."""

    OK = "ok"
    NO_MODELS = "no_models"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    ADDRESS_INVALID = "address_invalid"
    NAME_UNKNOWN = "name_unknown"
    REFUSED = "refused"
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    TLS = "tls"
    CLOSED = "closed"
    KEY_REFUSED = "key_refused"
    WRONG_PATH = "wrong_path"
    REDIRECT = "redirect"
    WRONG_SERVER = "wrong_server"
    OVERLOADED = "overloaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of one endpoint. `version` and `models` are None where nobody told."""

    endpoint_id: UUID
    base_url: str
    finding: Finding
    message: str
    version: str | None = None
    models: int | None = None
    latency_ms: int | None = None  # of the whole test, None where it failed

    @property
    def ok(self) -> bool:
        return self.finding in (Finding.OK, Finding.NO_MODELS)


@dataclass(frozen=True, slots=True)
class _Place:
    """What a test needs to know, without the database."""

    endpoint_id: UUID
    base_url: str
    kind: str
    api_key: str
    guarded: bool


def diagnose(provider: Provider) -> list[Diagnosis]:
    """Ask each endpoint for its version and its models, a few at once; each answers within seconds.

    Raises nothing for what is wrong with a server: that is the answer. No text of it holds the key.
    """
    places = [
        _Place(endpoint.pk, endpoint.base_url, provider.kind, provider.api_key, bool(provider.org_id))
        for endpoint in provider.endpoints.all()
    ]
    if not places:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(places)), thread_name_prefix="diagnose") as pool:
        return list(pool.map(_examine, places))


def _examine(place: _Place) -> Diagnosis:
    started = time.monotonic()
    try:
        probe = _probe(place, place.kind)
    except EvalsuiteError as error:
        finding, words = _explain(place, error)
        return Diagnosis(place.endpoint_id, place.base_url, finding, words)
    return Diagnosis(
        place.endpoint_id,
        place.base_url,
        Finding.OK if probe.models else Finding.NO_MODELS,
        _good_news(place, probe),
        probe.version,
        probe.models,
        round((time.monotonic() - started) * 1000),
    )


def _probe(place: _Place, kind: str) -> Probe:
    client = registry.client_for(kind, place.base_url, place.api_key, guarded=place.guarded)
    return client.probe(limits=LIMITS)


def _good_news(place: _Place, probe: Probe) -> str:
    who = f"Ollama {probe.version}" if probe.version else "an OpenAI-compatible server"
    if not probe.models:
        advice = " Pull one." if place.kind == Provider.Kind.OLLAMA else " Load one there."
        return f"Reachable: {who}, but it has no model yet.{advice}"
    return f"Reachable: {who} with {probe.models:,} model{'' if probe.models == 1 else 's'}."


# By what stood in the way: {where} is host and port.
_OBSTACLES: dict[Obstacle, tuple[Finding, str]] = {
    "guard": (Finding.ADDRESS_NOT_ALLOWED, "{said} Ask the operator to open that network."),
    "address": (Finding.ADDRESS_INVALID, "The address is not a valid one."),
    "name": (
        Finding.NAME_UNKNOWN,
        "The name {where} cannot be looked up. Is it spelled right, and known to our DNS?",
    ),
    "refused": (
        Finding.REFUSED,
        "{where} refuses the connection: the machine is there, but nothing listens on that port. "
        "Is the server started, and on more than its own loopback?",
    ),
    "route": (Finding.NO_ROUTE, "No way leads to {where}: the machine or its network is not reachable."),
    "tls": (
        Finding.TLS,
        "No trusted TLS with {where}: its certificate is not valid for us, or it speaks plain http.",
    ),
    "closed": (
        Finding.CLOSED,
        "{where} takes the connection and closes it unanswered. Does it want https, or is another "
        "service on that port?",
    ),
}


def _explain(place: _Place, error: EvalsuiteError) -> tuple[Finding, str]:
    match error:
        case ProviderError(obstacle=str(obstacle)):
            finding, words = _OBSTACLES[obstacle]
            where = urlsplit(place.base_url).netloc.rpartition("@")[2]
            found = finding, words.format(where=where, said=error.message)
        case ProviderTimeout(phase="connect"):
            reason = "Is the machine on, and does a firewall let us through?"
            found = Finding.TIMEOUT, f"No connection within {LIMITS.connect_s:g} s. {reason}"
        case ProviderTimeout():
            words = f"It takes the connection, but does not answer within {LIMITS.first_token_s:g} s."
            found = Finding.TIMEOUT, words
        case ProviderError(answered=401 | 403):
            found = Finding.KEY_REFUSED, _refused_key(place, error)
        case ProviderError(answered=404 | 405):
            words = f"A server answers, but knows no such route ({error.answered})."
            found = Finding.WRONG_PATH, _instead(place, words)
        case ProviderError(answered=301 | 302 | 303 | 307 | 308):
            found = Finding.REDIRECT, error.message
        case WrongServer():
            found = Finding.WRONG_SERVER, _instead(place, error.message)
        case ProviderOverloaded():
            found = Finding.OVERLOADED, "The server is there and says that it has too much to do now."
        case BrokenStream():
            found = Finding.CLOSED, "The server is there, but breaks off in the middle of its answer."
        case _:
            found = Finding.FAILED, error.message
    return found


def _refused_key(place: _Place, error: ProviderError) -> str:
    if place.api_key:
        return "The server is there and refuses our key. Enter it anew."
    if place.kind == Provider.Kind.OLLAMA and error.answered == 403:
        return (
            "The server is there and forbids access (403). An Ollama that listens on its loopback only "
            "does so to a proxy that passes another host name on; any other server wants a key."
        )
    return "The server is there and wants a key, and none is set."


def _instead(place: _Place, words: str) -> str:
    """The words, with what may be meant instead of this address or this kind."""
    if place.kind != Provider.Kind.OLLAMA:
        return f"{words} The path is not right, or it is no OpenAI-compatible server."
    if urlsplit(place.base_url).path.rstrip("/").endswith(("/v1", "/api")):
        return f"{words} The address of an Ollama ends before /api and /v1."
    try:
        _probe(place, Provider.Kind.OPENAI_COMPATIBLE)
    except EvalsuiteError:
        return f"{words} It is no Ollama, or the port or the path is not right."
    return "No Ollama, but an OpenAI-compatible server answers: choose that kind."
