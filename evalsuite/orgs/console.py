"""The base of every console page about an org, and what the page's frame shows."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views import View

from evalsuite.errors import Forbidden
from evalsuite.orgs.models import Org, User
from evalsuite.orgs.permissions import Permission

OFFERED_ORGS = 50


class OrgPage(LoginRequiredMixin, View):
    """A view below `/app/orgs/{orgId}/`. Sets `self.org` and `self.permissions`.

    `required_permission` is one permission for all methods, or one for each method.
    """

    required_permission: ClassVar[Permission | dict[str, Permission]]
    org: Org
    permissions: frozenset[Permission]

    @property
    def user(self) -> User:
        return cast("User", self.request.user)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        user = request.user
        self.org, self.permissions = Org.objects.entered_by(user, kwargs["org_id"])
        request.org = self.org  # type: ignore[attr-defined]
        method = (request.method or "").lower()
        if method in self.http_method_names and hasattr(self, method):
            permission = self.permission_for(method.upper())
            if permission not in self.permissions:
                raise Forbidden(permission)
        request.permissions = self.permissions  # type: ignore[attr-defined]
        return super().dispatch(request, *args, **kwargs)

    @classmethod
    def permission_for(cls, method: str) -> Permission:
        if isinstance(cls.required_permission, str):
            return cls.required_permission
        return cls.required_permission["GET" if method in ("HEAD", "OPTIONS") else method]


class OrgMenu(OrgPage):
    """The orgs to switch to, for the menu that was opened."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        orgs = Org.objects.visible_to(self.user)[:OFFERED_ORGS]
        return render(request, "orgs/partials/org_menu.html", {"orgs": orgs})


def console_context(request: HttpRequest) -> dict[str, Any]:
    """For the frame of console pages: the org in view, and what is offered."""
    org = getattr(request, "org", None)
    if org is None:
        return {}
    permissions = getattr(request, "permissions", ())
    return {
        "org": org,
        "shows_members": "org:members:manage" in permissions,
        "shows_keys": "org:keys:manage" in permissions,
        "shows_usage": "org:usage:read" in permissions,
        "shows_audit": "org:audit:read" in permissions,
    }
