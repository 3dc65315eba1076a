"""The base of every API view about an org: member or 404, permission or 403."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar, cast

from django.http import StreamingHttpResponse
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from evalsuite.errors import Forbidden
from evalsuite.orgs.models import Org, User
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.standing import Standing
from evalsuite.streams import sse_response


class OrgApiView(APIView):
    """A view below `/orgs/{orgId}/`. Sets `self.org`; knows `self.user`.

    `required_permission` is one permission for all methods, or one for each method.
    """

    required_permission: ClassVar[Permission | dict[str, Permission]]
    permission_classes = ()  # checked in initial(), where a foreign org must come before a missing right
    org: Org

    @property
    def user(self) -> User:
        return cast("User", self.request.user)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not request.user.is_authenticated:
            raise NotAuthenticated
        self.org, granted = Org.objects.entered_by(request.user, kwargs["org_id"])
        if (permission := self.permission_for(request.method or "")) not in granted:
            raise Forbidden(permission)

    def stream(self, events: AsyncGenerator[bytes, None]) -> StreamingHttpResponse:
        """Server-sent events, until they end or the caller has lost the right to them. To be called last."""
        permission = self.permission_for(self.request.method or "")
        return sse_response(events, allowed=Standing.of(self.request, self.org, permission))

    @classmethod
    def permission_for(cls, method: str) -> Permission:
        """The permission that this method needs. HEAD and OPTIONS need what GET needs."""
        if isinstance(cls.required_permission, str):
            return cls.required_permission
        rules = cls.required_permission
        if method in ("HEAD", "OPTIONS") and method not in rules:
            return rules["GET"] if "GET" in rules else next(iter(rules.values()))
        return rules[method]
