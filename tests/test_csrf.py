"""No address that a session opens takes a change from another site: every one of the URL conf is tried."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern

from tests import factories
from tests.test_urlconf import routes

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
# They look at no session: the password or the token in the body is the proof.
NO_SESSION = {"/api/v1/auth/token", "/api/v1/auth/token/refresh", "/api/v1/auth/logout"}
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE)", re.IGNORECASE)


def addresses():
    """Each address once, with stand-ins for ids; an expression of the admin's last resort is left out."""
    for path, pattern in routes():
        if isinstance(pattern, URLPattern) and "^" not in path and "(?P" not in path:
            yield "/" + path


ALL = sorted(set(addresses()))


@pytest.fixture
def session(org):
    """Of somebody who may do everything, without the token that our own forms carry."""
    user = factories.make_user("sam", org=org, role="owner", is_staff=True, is_superuser=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def test_the_list_covers_all_doors():
    assert len(ALL) > 200
    for door in ("/api/v1/orgs", "/app/orgs", "/admin/", "/login", "/logout", "/account/password"):
        assert any(address.startswith(door) for address in ALL), door


@pytest.mark.parametrize("method", UNSAFE)
def test_every_address_refuses_and_nothing_is_written(session, org, method):
    for address in ALL:
        path = re.sub(r"<[^>]+>", str(org.pk), address)
        if path in NO_SESSION:
            continue
        with CaptureQueriesContext(connection) as queries:
            answer = session.generic(method, path, b"{}", content_type="application/json")
        writes = [one["sql"] for one in queries if WRITES.match(one["sql"])]
        assert writes == [], (method, path)
        # 405: there is nothing to do at all.
        assert answer.status_code in {403, 405}, (method, path, answer.status_code)


@pytest.mark.parametrize("address", sorted(NO_SESSION))
def test_a_session_is_worth_nothing_where_none_is_asked_for(session, address):
    answer = session.post(address, b"{}", content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["details"].keys() & {"username", "refresh"}


def test_a_token_of_another_site_is_refused(session, org, settings):
    """Behind https the origin must be ours, whatever the token says."""
    page = session.get("/account/password", secure=True)
    token = page.cookies["csrftoken"].value
    body = {"name": "x", "csrfmiddlewaretoken": token}
    path = f"/app/orgs/{org.pk}/experiments/new"
    for headers in ({"origin": "https://evil.example"}, {"referer": "https://evil.example/"}, {}):
        assert session.post(path, body, secure=True, headers=headers).status_code == 403, headers
    assert session.post(path, body, secure=True, headers={"origin": "https://testserver"}).status_code != 403
