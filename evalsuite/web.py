"""The ground of every page: who asks, what the browser may load, and how errors look."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django_htmx.middleware import HtmxDetails

from evalsuite import bodies, context, tracing
from evalsuite.errors import EvalsuiteError, NotFound, TooLarge, Unavailable
from evalsuite.ids import new_id

if TYPE_CHECKING:
    GetResponse = Callable[[HttpRequest], HttpResponse]

SOURCES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


def policy(**more: str) -> str:
    """The Content-Security-Policy, with other sources for some directives."""
    sources = SOURCES | {name.replace("_", "-"): value for name, value in more.items()}
    return "; ".join(f"{name} {value}" for name, value in sources.items())


POLICY = policy()
# The API's browsable page draws its icons from its style sheet.
DOCS_POLICY = policy(img_src="'self' data:")
# Pages of the admin, for its staff alone: the theme's attributes are expressions that Alpine compiles, and
# set styles. What people wrote comes into no such attribute; scripts and style sheets are still our own.
ADMIN_POLICY = policy(
    script_src="'self' 'unsafe-eval'",
    style_src_attr="'unsafe-inline'",
    img_src="'self' data:",
    font_src="'self'",
)


log = logging.getLogger(__name__)


class HtmxHttpRequest(HttpRequest):
    htmx: HtmxDetails


def wants_partial(request: HtmxHttpRequest) -> bool:
    """True when htmx will swap the answer into the page that it already shows."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


PROBES = {"healthz", "readyz", "metrics"}  # asked every few seconds, for ever


class RequestFactsMiddleware:
    """Gives each request an id, notes its address for the audit log, and writes its line into the log.

    The line names the route, never the address asked for: that may hold what is nobody else's business.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with tracing.request(request.method or "") as span:
            facts = context.RequestFacts(new_id().hex, _address(request), tracing.mark(span))
            token = context.current.set(facts)
            begun = time.perf_counter()
            try:
                response = self.get_response(request)
                _tell(request, response, time.perf_counter() - begun)
            finally:
                context.current.reset(token)
            tracing.answered(span, request.method or "", _route(request), response.status_code)
        response["X-Request-ID"] = facts.request_id
        return response


def _tell(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    """One line, when the answer begins: a stream goes on after it."""
    route = _route(request)
    quiet = route in PROBES or (not route and request.path.startswith(settings.STATIC_URL))
    level = logging.DEBUG if quiet else logging.INFO
    if log.isEnabledFor(level):
        ms = round(seconds * 1000, 1)
        facts = {"method": request.method, "route": route, "status": response.status_code, "ms": ms}
        log.log(level, "request", extra={"facts": facts})


def _route(request: HttpRequest) -> str:
    """The pattern that the address fits; empty where it fits none, or none was looked for."""
    return request.resolver_match.route if request.resolver_match else ""


def _address(request: HttpRequest) -> str | None:
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXY:
        # The last entry is the one that our own proxy wrote; the others are the client's claims.
        address = request.META.get("HTTP_X_FORWARDED_FOR", address).rsplit(",", 1)[-1].strip()
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


class BrowserRulesMiddleware:
    """What a browser may do with an answer: on every one of them, so it stands around all the others."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy_for(request, response))
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("X-Frame-Options", settings.X_FRAME_OPTIONS)
        response.headers.setdefault("Referrer-Policy", settings.SECURE_REFERRER_POLICY)
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if settings.SECURE_HSTS_SECONDS and request.is_secure():
            hsts = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
            response.headers.setdefault("Strict-Transport-Security", hsts)
        return response


def policy_for(request: HttpRequest, response: HttpResponse) -> str:
    user = getattr(request, "user", None)
    is_page = response.status_code == 200 and response.get("Content-Type", "").startswith("text/html")
    if is_page and request.path.startswith("/admin/") and user is not None and user.is_staff:
        return ADMIN_POLICY
    if is_page and request.path == "/api/v1/docs":
        return DOCS_POLICY
    return POLICY


class ErrorPagesMiddleware:
    """Our errors as a page, or for htmx as a message for the snackbar."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if getattr(request, "scope", {}).get(bodies.REFUSED):
            response = error_page(request, 413, TOO_LARGE, TooLarge(TOO_LARGE))
            response["Connection"] = "close"  # what still comes of the body is read by nobody
            return response
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, Http404):
            exception = NotFound("page")
        if isinstance(exception, OperationalError):
            log.error("the database does not answer", exc_info=exception)
            exception = Unavailable()
        if isinstance(exception, EvalsuiteError):
            return error_page(request, exception.status, exception.message, exception)
        if isinstance(exception, PermissionDenied):
            return error_page(request, 403, str(exception) or "You may not do this.")
        return None


TOO_LARGE = "This is more than one request may bring."
TITLES = {
    400: "That did not work",
    403: "Not allowed",
    404: "Not found",
    500: "Something broke on our side",
    503: "Not now",
}


def error_page(
    request: HttpRequest, status: int, message: str, error: EvalsuiteError | None = None
) -> HttpResponse:
    """JSON under /api/, a snackbar message for htmx, a whole page otherwise.

    Neither is drawn with what pages know of the request: that is in the database, which may be what is wrong.
    """
    response = _error_page(request, status, message, error)
    if error and error.retry_after:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def _error_page(
    request: HttpRequest, status: int, message: str, error: EvalsuiteError | None
) -> HttpResponse:
    if request.path.startswith("/api/"):
        code = error.code if error else {404: "RESOURCE_NOT_FOUND", 403: "FORBIDDEN"}.get(status, "ERROR")
        return JsonResponse(
            {"error": code, "details": error.details if error else {"message": message}}, status=status
        )
    htmx = getattr(request, "htmx", None)
    if htmx and not htmx.boosted and not htmx.history_restore_request:
        words = render_to_string("components/snackbar_message.html", {"message": message})
        response = HttpResponse(words, status=status)
        response["HX-Retarget"] = "#snackbar"
        response["HX-Reswap"] = "innerHTML"
        return response
    title = TITLES.get(status, "That did not work")
    page = {"status": status, "title": title, "message": message}
    return HttpResponse(render_to_string("error.html", page), status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return error_page(request, 413, TOO_LARGE, TooLarge(TOO_LARGE))
    return error_page(request, 400, "The request could not be understood.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return error_page(request, 403, "This page has expired. Load it again and repeat what you did.")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 404, "There is no such page.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 403, "You may not do this.")


def server_error(request: HttpRequest) -> HttpResponse:
    return error_page(request, 500, "The error has been logged. Please try again in a moment.")
