"""Members and roles: who gives them to whom, and that an org is never without an owner."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import Conflict
from evalsuite.ids import new_id
from evalsuite.orgs import services
from evalsuite.orgs.models import Membership
from tests import factories


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/members"


@pytest.fixture
def admin(org, signed_in):
    return signed_in(factories.make_user("adam", org=org, role="admin"))


def membership(user):
    return Membership.objects.get(user=user)


def error(response):
    return response.status_code, response.json()["error"]


def test_the_list_names_each_member_and_role(api, url, org, alice):
    bob = factories.make_user("bob", org=org, role="rater")
    factories.make_user("stranger", org=factories.make_org())
    rows = api.get(url).json()["members"]
    assert [(row["user"]["username"], row["role"]) for row in rows] == [("bob", "rater"), ("alice", "owner")]
    assert rows[0]["user"]["id"] == str(bob.pk)


def test_an_account_becomes_a_member(api, url, org, alice):
    bob = factories.make_user("bob")
    response = api.post(url, {"username": "bob", "role": "editor"}, format="json")
    assert response.status_code == 201
    assert api.get(f"{url}/{response.json()['member']['id']}").json() == response.json()
    assert membership(bob).role == "editor"
    event = AuditEvent.objects.get()
    assert (event.event, event.org, event.actor) == ("org.member.added", org, alice)
    assert event.after == {"username": "bob", "role": "editor"}


@pytest.mark.parametrize(
    "body", [{"username": "bob"}, {"role": "viewer"}, {"username": "bob", "role": "king"}]
)
def test_a_bad_body_is_400(api, url, body):
    assert error(api.post(url, body, format="json")) == (400, "INVALID_BODY")


def test_an_unknown_account_is_404(api, url):
    response = api.post(url, {"username": "nobody", "role": "viewer"}, format="json")
    assert error(response) == (404, "USER_NOT_FOUND")


def test_a_member_cannot_be_added_twice(api, url, org):
    factories.make_user("bob", org=org)
    assert error(api.post(url, {"username": "bob", "role": "viewer"}, format="json")) == (409, "CONFLICT")


def test_a_role_is_changed(api, url, org):
    bob = factories.make_user("bob", org=org, role="viewer")
    response = api.patch(f"{url}/{membership(bob).pk}", {"role": "editor"}, format="json")
    assert (response.status_code, response.json()["member"]["role"]) == (200, "editor")
    event = AuditEvent.objects.get()
    assert (event.event, event.before["role"], event.after["role"]) == (
        "org.member.changed",
        "viewer",
        "editor",
    )


def test_a_member_is_removed_and_the_account_stays(api, url, org):
    bob = factories.make_user("bob", org=org)
    assert api.delete(f"{url}/{membership(bob).pk}").status_code == 204
    assert not Membership.objects.filter(user=bob).exists()
    bob.refresh_from_db()
    assert AuditEvent.objects.get().event == "org.member.removed"


@pytest.mark.parametrize("change", ["remove", "demote"])
def test_the_last_owner_stays(api, url, alice, change):
    own = f"{url}/{membership(alice).pk}"
    response = api.delete(own) if change == "remove" else api.patch(own, {"role": "admin"}, format="json")
    assert error(response) == (409, "CONFLICT")
    assert membership(alice).role == "owner"
    assert not AuditEvent.objects.exists()


def test_an_owner_whose_account_is_switched_off_does_not_count(api, url, org, alice):
    factories.make_user("off", org=org, role="owner", is_active=False)
    assert error(api.delete(f"{url}/{membership(alice).pk}")) == (409, "CONFLICT")


def test_one_of_two_owners_may_go(api, url, org, alice):
    factories.make_user("olga", org=org, role="owner")
    assert api.delete(f"{url}/{membership(alice).pk}").status_code == 204


def test_an_admin_neither_makes_nor_unmakes_owners(admin, url, org, alice):
    factories.make_user("olga", org=org, role="owner")
    bob = factories.make_user("bob", org=org)
    factories.make_user("new")
    refused = [
        admin.post(url, {"username": "new", "role": "owner"}, format="json"),
        admin.patch(f"{url}/{membership(bob).pk}", {"role": "owner"}, format="json"),
        admin.patch(f"{url}/{membership(alice).pk}", {"role": "viewer"}, format="json"),
        admin.delete(f"{url}/{membership(alice).pk}"),
    ]
    assert [error(response) for response in refused] == [(403, "FORBIDDEN")] * 4
    assert admin.patch(f"{url}/{membership(bob).pk}", {"role": "admin"}, format="json").status_code == 200


def test_a_superuser_makes_owners(signed_in, url, org):
    bob = factories.make_user("bob", org=org)
    root = signed_in(factories.make_user(is_superuser=True))
    assert root.patch(f"{url}/{membership(bob).pk}", {"role": "owner"}, format="json").status_code == 200


@pytest.mark.parametrize("role", ["editor", "rater", "viewer"])
def test_other_roles_do_not_even_see_the_members(signed_in, url, org, role):
    response = signed_in(factories.make_user(org=org, role=role)).get(url)
    assert error(response) == (403, "FORBIDDEN")
    assert response.json()["details"]["permission"] == "org:members:manage"


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_a_membership_of_another_org_is_404(api, url, charlie, method):
    for member_id in (membership(charlie).pk, new_id(), "x"):
        response = getattr(api, method)(f"{url}/{member_id}", {"role": "viewer"}, format="json")
        assert error(response) == (404, "MEMBER_NOT_FOUND")


def test_two_owners_who_remove_each_other_at_once_do_not_both_succeed(transactional_db):
    org = factories.make_org()
    owners = [factories.make_user(org=org, role="owner") for _ in range(2)]
    outcomes = []
    together = threading.Barrier(2)

    def remove(member, actor):
        together.wait()
        try:
            services.remove_member(member, actor=actor)
            outcomes.append("removed")
        except Conflict:
            outcomes.append("refused")
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            outcomes.append(type(error).__name__)
        finally:
            connection.close()

    pairs = [(membership(owners[0]), owners[1]), (membership(owners[1]), owners[0])]
    threads = [threading.Thread(target=remove, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Membership.objects.filter(org=org, role="owner").count() == 1
    assert outcomes.count("removed") == 1
