"""The base of API views about the caller's own account, and of those that anybody may call."""

from __future__ import annotations

from typing import Any, cast

from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from evalsuite.orgs.models import User
from evalsuite.orgs.resources import Body, checked


class AccountView(APIView):
    """A view that is about the caller and no org."""

    permission_classes = (IsAuthenticated,)

    @property
    def user(self) -> User:
        return cast("User", self.request.user)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The methods are in the header `Allow`; what they take is in the document."""
        return Response(status=204)


class PublicView(APIView):
    """A view for callers who are not signed in. Looks at no token and at no session."""

    permission_classes = (AllowAny,)
    authentication_classes = ()

    def checked(self, body: Body) -> Any:
        return checked(body, self.request.data)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return Response(status=204)

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if response.status_code == 401:
            response["WWW-Authenticate"] = 'Bearer realm="api"'
        return response
