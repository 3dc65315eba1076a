"""`Authorization: Bearer evs_...`: a program that shows its key."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from evalsuite.errors import Unauthenticated
from evalsuite.orgs.api_keys import PREFIX, holder
from evalsuite.orgs.models import ApiKey, User


class KeyAuthentication(BaseAuthentication):
    """Comes before tokens of people, which have the same header and another beginning."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey | None] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token.startswith(PREFIX):
            return None
        try:
            user = holder(token)
        except Unauthenticated as error:
            raise AuthenticationFailed(error.message) from error
        return user, user.acting_key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "evalsuite.orgs.key_authentication.KeyAuthentication"
    name = "programKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": f"{PREFIX}...",
            "description": "A key made for a program, with some of its maker's permissions in one org.",
        }
