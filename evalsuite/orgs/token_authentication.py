"""`Authorization: Bearer ...` with an access token of a person."""

from __future__ import annotations

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from evalsuite.ids import parse_id
from evalsuite.orgs.models import USER, User


class TokenAuthentication(JWTAuthentication):
    """The account is looked up by a prepared query: this is on the way of every request."""

    def get_user(self, validated_token: Token) -> User:  # type: ignore[override]
        """Raises AuthenticationFailed without an active account, and after a change of its password."""
        known = parse_id(str(validated_token.get(api_settings.USER_ID_CLAIM)))
        user = USER.first(known) if known else None
        if user is None or not user.is_active:
            raise AuthenticationFailed("There is no such account any more.")
        if validated_token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
            raise AuthenticationFailed("The password was changed after this token was made.")
        return user


class TokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "evalsuite.orgs.token_authentication.TokenAuthentication"
