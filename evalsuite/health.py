"""For machines that watch us: alive, ready, and the Prometheus page."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_address

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from evalsuite import context
from evalsuite.metrics import families, hooks, page

log = logging.getLogger(__name__)

REDIS_ANSWERS_WITHIN_S = 1.0

Check = Callable[[], str]  # what is wrong, in words; empty where nothing is
_checks: dict[str, Check] = {}


def register(name: str, check: Check) -> None:
    """Ask `check` as well, whenever somebody wants to know whether we are ready. Apps do so as they start.

    A check costs a query or two, and may raise DatabaseError.
    """
    _checks[name] = check


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else, so that a slow database kills no web process."""
    return JsonResponse({"ok": True})


def readyz(request: HttpRequest) -> HttpResponse:
    """All that the work needs is there. 503 names what is not, and why; green again by itself."""
    wrong = problems()
    return JsonResponse({"ok": not wrong, **wrong}, status=503 if wrong else 200)


def problems() -> dict[str, str]:
    """What is wrong, by part; empty where we are ready."""
    found: dict[str, str] = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        found |= {name: check() for name, check in _checks.items()}
    except DatabaseError:
        found["database"] = "does not answer"
    if settings.REDIS_URL:
        found["redis"] = _redis_problem()
    return {name: reason for name, reason in found.items() if reason}


def _redis_problem() -> str:
    try:
        _redis(settings.REDIS_URL).ping()
    except redis.RedisError:
        return "does not answer"
    return ""


@cache
def _redis(url: str) -> redis.Redis:
    limit = REDIS_ANSWERS_WITHIN_S
    return redis.Redis.from_url(url, socket_timeout=limit, socket_connect_timeout=limit)


def _parts() -> Iterator[hooks.Sample]:
    wrong = problems()
    for name in ("database", *(["redis"] if settings.REDIS_URL else []), *_checks):
        yield families.READY, (name,), 0 if name in wrong else 1


hooks.register_gauges("health", _parts)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for the bearer of METRICS_TOKEN and METRICS_NETWORKS; else for this machine alone."""
    if not (_has_token(request) or _is_near()):
        raise Http404
    try:
        return HttpResponse(page.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    except DatabaseError:
        log.exception("no figures")
        return HttpResponse("The database does not answer.", content_type="text/plain", status=503)


def _has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    token = settings.METRICS_TOKEN
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def _is_near() -> bool:
    """By the address of the client, not of a proxy before us. Loopback says nothing where there is one."""
    facts = context.current.get()
    if facts.address is None:
        return False
    address = ip_address(facts.address)
    if settings.METRICS_NETWORKS:
        return any(address in network for network in settings.METRICS_NETWORKS)
    return address.is_loopback and not settings.METRICS_TOKEN and not settings.TRUSTED_PROXY
