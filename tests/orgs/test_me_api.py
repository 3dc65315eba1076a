"""Who the caller is, and their orgs."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Membership
from evalsuite.orgs.permissions import ALL
from tests import factories

ORGS = "/api/v1/orgs"


def test_me_tells_the_caller_and_what_they_may_do_where(signed_in, org):
    user = factories.make_user("rita", org=org, role="rater", email="rita@example.com")
    factories.make_org()
    told = signed_in(user).get("/api/v1/me").json()["user"]
    assert (told["username"], told["email"], told["isSuperuser"]) == ("rita", "rita@example.com", False)
    (mine,) = told["orgs"]
    assert (mine["id"], mine["name"], mine["role"]) == (str(org.pk), org.name, "rater")
    assert mine["permissions"] == ["org:experiments:rate", "org:experiments:read"]


def test_a_superuser_has_all_orgs_and_no_role(signed_in, org):
    root = factories.make_user(is_superuser=True)
    (told,) = signed_in(root).get("/api/v1/me").json()["user"]["orgs"]
    assert (told["role"], told["permissions"]) == (None, sorted(ALL))


def test_the_list_has_ones_own_orgs_page_by_page(api, alice):
    for _ in range(2):
        Membership.objects.create(org=factories.make_org(), user=alice, role="viewer")
    factories.make_org("not hers")
    first = api.get(ORGS, {"limit": 2}).json()
    second = api.get(first["next"]).json()
    assert (len(first["orgs"]), len(second["orgs"]), second["next"]) == (2, 1, None)
    assert len({row["id"] for row in first["orgs"] + second["orgs"]}) == 3


def test_the_number_of_queries_does_not_grow_with_the_orgs(api, alice, django_assert_max_num_queries):
    for _ in range(20):
        Membership.objects.create(org=factories.make_org(), user=alice, role="viewer")
    with django_assert_max_num_queries(3):
        assert len(api.get(ORGS).json()["orgs"]) == 21


@pytest.mark.parametrize("role", Membership.Role.values)
def test_every_member_reads_the_org(signed_in, org, role):
    response = signed_in(factories.make_user(org=org, role=role)).get(f"{ORGS}/{org.pk}")
    assert (response.status_code, response.json()["org"]["role"]) == (200, role)


def test_an_owner_renames_it(api, org):
    before = org.name
    response = api.patch(f"{ORGS}/{org.pk}", {"name": "New name"}, format="json")
    assert (response.status_code, response.json()["org"]["name"]) == (200, "New name")
    event = AuditEvent.objects.get()
    assert (event.event, event.org) == ("org.updated", org)
    assert (event.before, event.after) == ({"name": before}, {"name": "New name"})


def test_the_same_name_again_is_no_change(api, org):
    assert api.patch(f"{ORGS}/{org.pk}", {"name": org.name}, format="json").status_code == 200
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("body", [{"name": ""}, {"name": None}, {"slug": "x"}, {"name": "x" * 129}])
def test_a_bad_change_is_400_naming_the_field(api, org, body):
    response = api.patch(f"{ORGS}/{org.pk}", body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, list(body))


def test_an_editor_may_not_rename_it(signed_in, org):
    editor = signed_in(factories.make_user(org=org))
    response = editor.patch(f"{ORGS}/{org.pk}", {"name": "x"}, format="json")
    assert (response.status_code, response.json()["details"]["permission"]) == (403, "org:members:manage")
