"""Every address of the product says who may use it, and tells strangers nothing."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver
from rest_framework.test import APIClient

from evalsuite.ids import new_id
from evalsuite.orgs.api import OrgApiView
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import ALL
from tests import factories

pytestmark = pytest.mark.matrix

METHODS = ("get", "post", "put", "patch", "delete")
# Routes without an org, and why each may do without a permission.
WITHOUT_PERMISSION = {
    "api/v1/auth/token": "anybody: here one signs in",
    "api/v1/auth/token/refresh": "the refresh token is the proof",
    "api/v1/auth/logout": "the refresh token is the proof",
    "api/v1/me": "one's own account",
    "api/v1/orgs": "one's own memberships",
    "api/v1/invitations/accept": "one's own account; the link is the proof",
    "api/v1/schema": "public: it holds no secrets",
    "api/v1/docs": "public: it shows the schema",
    "app/": "one's own account: leads to the first org",
}
OWN_ACCOUNT = ("api/v1/me", "api/v1/orgs")


def routes(patterns=None, prefix=""):
    """Each path of the URL conf with its pattern."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield path, entry
        else:
            yield from routes(entry.url_patterns, path)


def view_of(pattern):
    return getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)


def implemented(view):
    return [method for method in METHODS if hasattr(view, method) and method in view.http_method_names]


OURS = {path: pattern for path, pattern in routes() if path.startswith(("api/", "app/"))}
OF_AN_ORG = {path: pattern for path, pattern in OURS.items() if "<str:org_id>" in path}
CALLS = sorted(
    (path, method) for path, pattern in OF_AN_ORG.items() for method in implemented(view_of(pattern))
)
API_CALLS = [call for call in CALLS if call[0].startswith("api/")]
CONSOLE_CALLS = [call for call in CALLS if call[0].startswith("app/")]


def test_the_lists_below_cover_something():
    assert len(API_CALLS) > 40
    assert len(CONSOLE_CALLS) > 5


def test_exactly_the_listed_routes_do_without_a_permission():
    undeclared = {path for path, pattern in OURS.items() if not declares_permission(view_of(pattern))}
    assert undeclared == set(WITHOUT_PERMISSION)


def declares_permission(view):
    return (
        view is not None and issubclass(view, OrgApiView | OrgPage) and hasattr(view, "required_permission")
    )


@pytest.mark.parametrize(("path", "method"), CALLS)
def test_every_method_needs_a_permission_that_exists(path, method):
    assert view_of(OF_AN_ORG[path]).permission_for(method.upper()) in ALL


@pytest.mark.parametrize("path", [path for path, method in CALLS if method == "get"])
def test_head_needs_what_get_needs(path):
    view = view_of(OF_AN_ORG[path])
    assert view.permission_for("HEAD") == view.permission_for("GET")


@pytest.mark.parametrize("path", sorted({path for path, _ in API_CALLS}))
def test_options_needs_a_permission_too(path):
    assert view_of(OF_AN_ORG[path]).permission_for("OPTIONS") in ALL


@pytest.mark.parametrize("path", OF_AN_ORG)
def test_a_view_of_an_org_is_reached_with_the_orgs_id_alone(path):
    view = view_of(OF_AN_ORG[path])
    assert issubclass(view, OrgApiView if path.startswith("api/") else OrgPage)
    assert path.split("/").index("<str:org_id>") == path.split("/").index("orgs") + 1


def address(path, org):
    """The path with this org's id, and made-up ids for all else."""
    steps = [str(org.pk) if step == "<str:org_id>" else step for step in path.split("/")]
    return "/" + "/".join(str(new_id()) if step.startswith("<") else step for step in steps)


def call(client, method, url):
    return client.generic(method.upper(), url, b"{}", content_type="application/json")


@pytest.mark.parametrize(("path", "method"), API_CALLS)
def test_anonymous_callers_of_the_api_get_401(org, path, method):
    response = call(APIClient(), method, address(path, org))
    assert (response.status_code, response.json()["error"]) == (401, "UNAUTHENTICATED")
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("path", "method"), API_CALLS)
def test_members_of_another_org_get_404_from_the_api(org, charlie, path, method):
    client = APIClient()
    client.force_authenticate(charlie)
    response = call(client, method, address(path, org))
    assert (response.status_code, response.json()["error"]) == (404, "ORG_NOT_FOUND")


@pytest.mark.parametrize(("path", "method"), CONSOLE_CALLS)
def test_anonymous_visitors_of_the_console_are_led_to_the_login(org, path, method):
    url = address(path, org)
    response = call(Client(), method, url)
    assert (response.status_code, response["Location"]) == (302, f"/login?next={url}")


@pytest.mark.parametrize(("path", "method"), CONSOLE_CALLS)
def test_members_of_another_org_get_404_from_the_console(org, charlie, path, method):
    client = Client()
    client.force_login(charlie)
    assert call(client, method, address(path, org)).status_code == 404


@pytest.mark.parametrize(("path", "method"), CALLS)
def test_an_account_that_was_switched_off_is_as_good_as_anonymous(org, path, method):
    user = factories.make_user(org=org, role="owner")
    client = Client()
    client.force_login(user)
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    response = call(client, method, address(path, org))
    assert response.status_code == (401 if path.startswith("api/") else 302)


@pytest.mark.parametrize("path", OWN_ACCOUNT)
def test_ones_own_account_needs_signing_in(db, client, path):
    response = client.get(f"/{path}")
    assert (response.status_code, response.json()["error"]) == (401, "UNAUTHENTICATED")


def test_a_session_without_a_csrf_token_changes_nothing(org, alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    response = client.post(f"/api/v1/orgs/{org.pk}/experiments", {}, content_type="application/json")
    assert (response.status_code, response.json()["error"]) == (403, "FORBIDDEN")
