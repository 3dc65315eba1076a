"""Tokens that we did not sign, or that have ended, open nothing: neither access nor refresh."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
from django.conf import settings
from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite import startup
from tests import factories

REFRESH, LOGOUT = "/api/v1/auth/token/refresh", "/api/v1/auth/logout"
ANOTHER_KEY = "another-key-another-key-another-key-another-key"


def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(alg):
    return lambda token, payload: f"{encoded({'alg': alg, 'typ': 'JWT'})}.{encoded(payload)}."


def with_old_signature(token, payload):
    return ".".join([token.split(".")[0], encoded({**payload, "user_id": "0" * 32}), token.split(".")[2]])


def with_no_algorithm_and_the_old_signature(token, payload):
    return ".".join([encoded({"alg": "none"}), *token.split(".")[1:]])


def expired(token, payload):
    past = {"iat": int(time.time()) - 20, "exp": int(time.time()) - 10}
    return jwt.encode({**payload, **past}, settings.JWT_SIGNING_KEY, "HS256")


FORGERIES = {
    "none": unsigned("none"),
    "None": unsigned("None"),
    "nOnE": unsigned("nOnE"),
    "empty": unsigned(""),
    "none, signed": with_no_algorithm_and_the_old_signature,
    "another key": lambda token, payload: jwt.encode(payload, ANOTHER_KEY, "HS256"),
    "the sessions' key": lambda token, payload: jwt.encode(payload, settings.SECRET_KEY, "HS256"),
    "another algorithm": lambda token, payload: jwt.encode(payload, settings.JWT_SIGNING_KEY, "HS512"),
    "another payload": with_old_signature,
    "expired": expired,
}


@pytest.fixture
def pair(alice):
    refresh = RefreshToken.for_user(alice)
    return str(refresh.access_token), str(refresh)


def opened(client, org, access):
    """What an access token is answered with, at each kind of address."""
    header = {"HTTP_AUTHORIZATION": f"Bearer {access}"}
    paths = ("/api/v1/me", f"/api/v1/orgs/{org.pk}/experiments")
    return {client.get(path, **header).status_code for path in paths}


def ended(client, path, refresh):
    return client.post(path, {"refresh": refresh}, content_type="application/json").status_code


def test_the_pair_that_is_forged_below_is_good(client, org, pair):
    access, refresh = pair
    assert opened(client, org, access) == {200}
    assert ended(client, REFRESH, refresh) == 200


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_token_opens_nothing(client, org, pair, forgery):
    access, refresh = (
        FORGERIES[forgery](token, jwt.decode(token, options={"verify_signature": False})) for token in pair
    )
    assert opened(client, org, access) == {401}
    assert ended(client, REFRESH, refresh) == 401
    assert ended(client, LOGOUT, refresh) == 401


def test_a_refresh_token_that_was_rotated_is_refused(client, pair):
    _, refresh = pair
    assert ended(client, REFRESH, refresh) == 200
    assert ended(client, REFRESH, refresh) == 401
    assert ended(client, LOGOUT, refresh) == 401


def test_after_a_change_of_password_both_are_refused(client, org, alice, pair):
    access, refresh = pair
    client.force_login(alice)
    new = {"new_password1": "another-long-password", "new_password2": "another-long-password"}
    assert client.post("/account/password", {"old_password": factories.PASSWORD, **new}).status_code == 302
    client.logout()
    assert opened(client, org, access) == {401}
    assert ended(client, REFRESH, refresh) == 401


def test_of_a_deactivated_user_both_are_refused(client, org, alice, pair):
    access, refresh = pair
    type(alice).objects.update(is_active=False)
    assert opened(client, org, access) == {401}
    assert ended(client, REFRESH, refresh) == 401


def test_a_check_says_so_when_used_tokens_are_not_kept(settings):
    assert startup.tokens_can_end() == []
    for name in ("BLACKLIST_AFTER_ROTATION", "ROTATE_REFRESH_TOKENS", "CHECK_REVOKE_TOKEN"):
        settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, name: False}
        (error,) = startup.tokens_can_end()
        assert (error.id, error.is_serious()) == ("evalsuite.E001", True)
        settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, name: True}
