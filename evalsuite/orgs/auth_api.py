"""Tokens: made with a password, exchanged for new ones, ended."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.openapi import errors
from evalsuite.orgs import signing_in
from evalsuite.orgs.account_views import PublicView

LONGEST_PASSWORD = 4_096  # characters
LONGEST_TOKEN = 8_192


class CredentialsBody(StrictSerializer):
    username = StrictCharField(max_length=150, trim_whitespace=False)
    password = StrictCharField(max_length=LONGEST_PASSWORD, trim_whitespace=False)


class RefreshBody(StrictSerializer):
    refresh = StrictCharField(max_length=LONGEST_TOKEN)


class TokenPairSerializer(serializers.Serializer[Any]):
    """`access` goes into `Authorization: Bearer ...`; `refresh` makes one new pair of both."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class TokenView(PublicView):
    @extend_schema(
        operation_id="auth_token",
        auth=[],
        request=CredentialsBody,
        responses={200: TokenPairSerializer, **errors(400, 401, 406, 413, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        body = self.checked(CredentialsBody)
        user = signing_in.check_password(request._request, **body)
        return Response(TokenPairSerializer(signing_in.issue_tokens(user)).data)


class RefreshView(PublicView):
    @extend_schema(
        operation_id="auth_token_refresh",
        auth=[],
        request=RefreshBody,
        responses={200: TokenPairSerializer, **errors(400, 401, 406, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        return Response(TokenPairSerializer(signing_in.rotate(self.checked(RefreshBody)["refresh"])).data)


class LogoutView(PublicView):
    """Ends the refresh token. An access token lives on for its few minutes."""

    @extend_schema(
        operation_id="auth_logout",
        auth=[],
        request=RefreshBody,
        responses={204: None, **errors(400, 401, 406, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        signing_in.end(self.checked(RefreshBody)["refresh"])
        return Response(status=204)
