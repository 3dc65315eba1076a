"""Tokens: what they open, how they are renewed, and when they end."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from tests import factories

TOKEN, REFRESH, LOGOUT = "/api/v1/auth/token", "/api/v1/auth/token/refresh", "/api/v1/auth/logout"


def sign_in(client, username="alice", password=factories.PASSWORD):
    return client.post(TOKEN, {"username": username, "password": password}, format="json")


def renew(client, refresh):
    return client.post(REFRESH, {"refresh": refresh}, format="json")


def me(client, access):
    return client.get("/api/v1/me", HTTP_AUTHORIZATION=f"Bearer {access}")


def unauthenticated(response):
    return (response.status_code, response.json()["error"]) == (401, "UNAUTHENTICATED")


def test_a_name_and_a_password_give_a_token_that_opens_the_api(anybody, alice):
    response = sign_in(anybody)
    assert response.status_code == 200
    assert response.json().keys() == {"access", "refresh"}
    assert me(anybody, response.json()["access"]).json()["user"]["username"] == "alice"


def test_signing_in_by_token_is_noted_as_the_last_time(anybody, api, org, alice):
    members = f"/api/v1/orgs/{org.pk}/members"
    assert api.get(members).json()["members"][0]["lastSignedInAt"] is None
    sign_in(anybody)
    assert api.get(members).json()["members"][0]["lastSignedInAt"]


def test_signing_in_is_in_the_audit_log(anybody, alice):
    sign_in(anybody)
    event = AuditEvent.objects.get()
    assert (event.event, event.actor, event.after) == ("account.login", alice, {"way": "token"})


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("nobody", factories.PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_get_the_same_401(anybody, alice, username, password):
    response = sign_in(anybody, username, password)
    assert unauthenticated(response)
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["details"] == {"message": "The user name or the password is wrong."}


def test_a_failure_is_in_the_audit_log_without_what_was_typed(anybody, alice):
    sign_in(anybody, "alice", "secret-1")
    sign_in(anybody, "secret-2", "x")
    known, unknown = AuditEvent.objects.filter(event="account.login.failed").order_by("id")
    assert (known.object_id, known.after) == (str(alice.pk), {"known": True})
    assert (unknown.object_id, unknown.after) == ("", {"known": False})


def test_an_account_that_is_switched_off_gets_401(anybody, org):
    factories.make_user("gone", org=org, is_active=False)
    assert unauthenticated(sign_in(anybody, "gone"))


@pytest.mark.parametrize("body", [{}, {"username": "alice"}, {"username": 1, "password": "x"}])
def test_a_body_without_name_or_password_is_400(anybody, body):
    response = anybody.post(TOKEN, body, format="json")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")


def test_a_password_may_begin_and_end_with_spaces(anybody, alice):
    alice.set_password("  spaces count  ")
    alice.save()
    assert sign_in(anybody, password="  spaces count  ").status_code == 200
    assert unauthenticated(sign_in(anybody, password="spaces count"))


def test_a_refresh_token_gives_a_new_pair_once(anybody, alice):
    first = sign_in(anybody).json()["refresh"]
    second = renew(anybody, first)
    assert second.status_code == 200
    assert me(anybody, second.json()["access"]).status_code == 200
    assert unauthenticated(renew(anybody, first))
    assert renew(anybody, second.json()["refresh"]).status_code == 200


def test_logging_out_ends_the_refresh_token(anybody, alice):
    refresh = sign_in(anybody).json()["refresh"]
    assert anybody.post(LOGOUT, {"refresh": refresh}, format="json").status_code == 204
    assert unauthenticated(renew(anybody, refresh))
    assert unauthenticated(anybody.post(LOGOUT, {"refresh": refresh}, format="json"))


def test_a_new_password_ends_all_tokens(anybody, alice):
    tokens = sign_in(anybody).json()
    alice.set_password("another-long-password")
    alice.save()
    assert unauthenticated(me(anybody, tokens["access"]))
    assert unauthenticated(renew(anybody, tokens["refresh"]))


@pytest.mark.parametrize("way", ["switched off", "deleted"])
def test_the_tokens_of_an_account_that_is_gone_end(anybody, alice, way):
    tokens = sign_in(anybody).json()
    if way == "deleted":
        alice.delete()
    else:
        type(alice).objects.update(is_active=False)
    assert unauthenticated(me(anybody, tokens["access"]))
    assert unauthenticated(renew(anybody, tokens["refresh"]))


@pytest.mark.parametrize("token", ["x", "a.b.c", "é", "eyJhbGciOiJub25lIn0.e30."])
@pytest.mark.parametrize("path", [REFRESH, LOGOUT])
def test_what_is_no_refresh_token_is_401(anybody, path, token):
    assert unauthenticated(anybody.post(path, {"refresh": token}, format="json"))


def test_an_access_token_is_no_refresh_token_and_the_other_way_round(anybody, alice):
    tokens = sign_in(anybody).json()
    assert unauthenticated(renew(anybody, tokens["access"]))
    assert unauthenticated(me(anybody, tokens["refresh"]))


def test_a_stale_token_in_the_header_does_not_stop_signing_in(anybody, alice):
    anybody.credentials(HTTP_AUTHORIZATION="Bearer stale")
    assert sign_in(anybody).status_code == 200
