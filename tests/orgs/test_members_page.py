"""The page of members: roles given and taken, within the rules for owners."""

from __future__ import annotations

import pytest

from evalsuite.orgs.models import Invitation
from tests import factories

HTMX = {"HX-Request": "true"}


@pytest.fixture
def url(org):
    return f"/app/orgs/{org.pk}/members"


@pytest.fixture
def bob(org):
    return factories.make_user("bob", org=org, role="viewer")


def of(user):
    return user.memberships.get().pk


def test_members_are_found_by_name(client, url, org, alice, bob):
    client.force_login(alice)
    for number in range(60):
        factories.make_user(f"person-{number:02}", org=org)
    text = client.get(url).content.decode()
    assert "1 to 50 of 62" in text
    assert "person-59" not in text
    assert "person-59" in client.get(url, {"page": 2}).content.decode()
    found = client.get(url, {"q": "BOB"}, headers=HTMX).content.decode()
    assert "bob" in found
    assert "<html" not in found
    assert "person-00" not in found


def test_a_role_is_changed_and_a_member_removed(client, url, org, alice, bob):
    client.force_login(alice)
    answer = client.post(f"{url}/{of(bob)}/role", {"role": "editor"}, headers=HTMX)
    assert "bob is editor now." in answer.content.decode()
    assert bob.memberships.get().role == "editor"
    removed = client.post(f"{url}/{of(bob)}/remove", headers=HTMX).content.decode()
    assert "bob is no member any more." in removed
    assert not bob.memberships.exists()
    client.force_login(bob)
    assert client.get(f"/app/orgs/{org.pk}/experiments").status_code == 404


def test_the_last_owner_stays_and_owners_are_for_owners(client, url, org, alice, bob):
    client.force_login(alice)
    for change in ("role", "remove"):
        answer = client.post(f"{url}/{of(alice)}/{change}", {"role": "viewer"}, headers=HTMX)
        assert (answer.status_code, answer["HX-Retarget"]) == (409, "#snackbar")
    adam = factories.make_user("adam", org=org, role="admin")
    client.force_login(adam)
    shown = client.get(url).content.decode()
    assert f"role-{of(bob)}" in shown
    assert f"role-{of(alice)}" not in shown
    assert 'value="owner"' not in shown
    for member in (alice, bob):
        answer = client.post(f"{url}/{of(member)}/role", {"role": "owner"}, headers=HTMX)
        assert answer.status_code == (403 if member == bob else 200)  # the owner is one already
    assert client.post(f"{url}/{of(alice)}/remove", headers=HTMX).status_code == 403


@pytest.mark.parametrize("change", ["role", "remove"])
def test_whoever_gives_up_the_right_is_led_away(client, url, org, alice, change):
    factories.make_user("olga", org=org, role="owner")
    client.force_login(alice)
    answer = client.post(f"{url}/{of(alice)}/{change}", {"role": "viewer"}, headers=HTMX)
    assert answer["HX-Redirect"] == "/app/"


def test_a_link_is_in_the_answer_and_never_again(client, url, org, alice):
    client.force_login(alice)
    answer = client.post(
        f"/app/orgs/{org.pk}/invitations", {"role": "editor", "days": "7", "note": "<b>bob</b>"}, headers=HTMX
    )
    text = answer.content.decode()
    assert answer["Cache-Control"] == "no-store"
    link = text.partition('id="invitation-link">')[2].partition("<")[0]
    assert link.startswith("http://testserver/join/")
    assert "&lt;b&gt;bob&lt;/b&gt;" in text
    assert link.rpartition("/")[2] not in client.get(url).content.decode()
    made = Invitation.objects.get()
    client.post(f"/app/orgs/{org.pk}/invitations/{made.pk}/revoke", headers=HTMX)
    client.logout()
    assert client.get(link).status_code == 404


@pytest.mark.parametrize(("role", "sees"), [("admin", True), ("editor", False), ("viewer", False)])
def test_the_way_there_is_shown_to_those_who_may_go(client, url, org, role, sees):
    client.force_login(factories.make_user(org=org, role=role))
    text = client.get(f"/app/orgs/{org.pk}/experiments").content.decode()
    assert (f'href="{url}"' in text) is sees
    assert client.get(url).status_code == (200 if sees else 403)
