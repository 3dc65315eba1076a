"""The ground of every page: who asks, what the browser may load, and how errors look."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django_htmx.middleware import HtmxDetails

from evalsuite import context
from evalsuite.errors import EvalsuiteError, NotFound
from evalsuite.ids import new_id

if TYPE_CHECKING:
    GetResponse = Callable[[HttpRequest], HttpResponse]

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
# Pages made by packages: the admin's theme and the API's browsable page need more than ours do.
PACKAGE_POLICY = (
    POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval'")
    .replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    .replace("img-src 'self' data:", "img-src 'self' data: blob:")
)
PACKAGE_PAGES = ("/admin/", "/api/v1/docs")


class HtmxHttpRequest(HttpRequest):
    htmx: HtmxDetails


def wants_partial(request: HtmxHttpRequest) -> bool:
    """True when htmx will swap the answer into the page that it already shows."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


class RequestFactsMiddleware:
    """Gives each request an id and notes its address for the audit log."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        facts = context.RequestFacts(request_id=new_id().hex, address=_address(request))
        token = context.current.set(facts)
        try:
            response = self.get_response(request)
        finally:
            context.current.reset(token)
        response["X-Request-ID"] = facts.request_id
        return response


def _address(request: HttpRequest) -> str | None:
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXY:
        # The last entry is the one that our own proxy wrote; the others are the client's claims.
        address = request.META.get("HTTP_X_FORWARDED_FOR", address).rsplit(",", 1)[-1].strip()
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


class ContentSecurityPolicyMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = PACKAGE_POLICY if request.path.startswith(PACKAGE_PAGES) else POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


class ErrorPagesMiddleware:
    """Our errors as a page, or for htmx as a message for the snackbar."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, Http404):
            exception = NotFound("page")
        if isinstance(exception, EvalsuiteError):
            return error_page(request, exception.status, exception.message, exception)
        if isinstance(exception, PermissionDenied):
            return error_page(request, 403, str(exception) or "You may not do this.")
        return None


TITLES = {400: "That did not work", 403: "Not allowed", 404: "Not found", 500: "Something broke on our side"}


def error_page(
    request: HttpRequest, status: int, message: str, error: EvalsuiteError | None = None
) -> HttpResponse:
    """JSON under /api/, a snackbar message for htmx, a whole page otherwise."""
    if request.path.startswith("/api/"):
        code = error.code if error else {404: "RESOURCE_NOT_FOUND", 403: "FORBIDDEN"}.get(status, "ERROR")
        return JsonResponse(
            {"error": code, "details": error.details if error else {"message": message}}, status=status
        )
    htmx = getattr(request, "htmx", None)
    if htmx and not htmx.boosted and not htmx.history_restore_request:
        response = render(request, "components/snackbar_message.html", {"message": message}, status=status)
        response["HX-Retarget"] = "#snackbar"
        response["HX-Reswap"] = "innerHTML"
        return response
    title = TITLES.get(status, "That did not work")
    page = {"status": status, "title": title, "message": message}
    return render(request, "error.html", page, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 400, "The request could not be understood.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return error_page(request, 403, "This page has expired. Load it again and repeat what you did.")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 404, "There is no such page.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 403, "You may not do this.")


def server_error(request: HttpRequest) -> HttpResponse:
    return error_page(request, 500, "The error has been logged. Please try again in a moment.")
