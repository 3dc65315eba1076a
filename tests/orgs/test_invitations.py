"""Invitations by link: made, shown once, good for one person, and dead as soon as they should be."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import Conflict, NotFound
from evalsuite.orgs import api_keys, invitations, services
from evalsuite.orgs.models import Invitation, Membership, User
from tests import factories

PASSWORD = {"password1": "another-good-horse-9", "password2": "another-good-horse-9"}
ACCEPT = "/api/v1/invitations/accept"


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/invitations"


@pytest.fixture
def link(org, alice):
    """A token, and the row that it is of."""
    row, token = invitations.invite(org=org, actor=alice, role="rater", note="bob@example.com")
    return token, row


def page(token):
    return reverse("join", args=[token])


def error(response):
    return response.status_code, response.json()["error"]


def test_a_link_is_told_once_and_kept_as_a_digest(api, url, org):
    body = {"role": "editor", "note": "bob@example.com"}
    answer = api.post(url, body, format="json")
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    told = answer.json()
    assert told["url"] == f"http://testserver/join/{told['token']}"
    row = Invitation.objects.get()
    assert told["token"] not in str(Invitation.objects.values())
    assert timedelta(days=6.9) < row.expires_at - timezone.now() < timedelta(days=7)
    [listed] = api.get(url).json()["invitations"]
    assert (listed["state"], listed["note"], listed["createdBy"]["username"]) == (
        "open", "bob@example.com", "alice",
    )  # fmt: skip
    assert told["token"] not in str(api.get(url).json())
    event = AuditEvent.objects.get()
    assert (event.event, event.org, event.after["role"]) == ("org.member.invited", org, "editor")
    assert told["token"] not in str(AuditEvent.objects.values())


@pytest.mark.parametrize("body", [{}, {"role": "king"}, {"role": "rater", "expiresInDays": 31}])
def test_a_bad_body_is_400(api, url, body):
    assert error(api.post(url, body, format="json")) == (400, "INVALID_BODY")
    assert not Invitation.objects.exists()


def test_only_an_owner_invites_an_owner(signed_in, url, org):
    admin = signed_in(factories.make_user(org=org, role="admin"))
    assert admin.post(url, {"role": "owner"}, format="json").status_code == 403
    assert admin.post(url, {"role": "admin"}, format="json").status_code == 201


def test_whoever_has_an_account_joins_once(client, link, org):
    token, row = link
    bob, eve = factories.make_user("bob"), factories.make_user("eve")
    client.force_login(bob)
    shown = client.get(page(token)).content.decode()
    assert f"Join {org.name}" in shown
    assert client.post(page(token)).headers["Location"].endswith(f"/orgs/{org.pk}/experiments")
    assert org.memberships.get(user=bob).role == "rater"
    event = AuditEvent.objects.get(event="org.member.joined")
    assert (event.org, event.actor, event.after["role"]) == (org, bob, "rater")
    client.force_login(eve)
    assert client.post(page(token)).status_code == 404
    assert not org.memberships.filter(user=eve).exists()
    row.refresh_from_db()
    assert (row.used_by, Invitation.objects.with_makers().get().state) == (bob, "used")


def test_whoever_has_no_account_signs_up_by_the_link_alone(client, link, org):
    token, _ = link
    answer = client.post(page(token), {"username": "bob", **PASSWORD}, follow=True)
    assert answer.status_code == 200
    assert f"You are a member of {org.name} now." in answer.content.decode()
    bob = User.objects.get(username="bob")
    assert (bob.is_staff, bob.is_superuser, bob.check_password(PASSWORD["password1"])) == (False, False, True)
    assert org.memberships.get(user=bob).role == "rater"
    told = list(AuditEvent.objects.order_by("id").values_list("event", "actor_name"))
    assert told[-3:] == [
        ("account.created", "bob"), ("org.member.joined", "bob"), ("account.login", "bob"),
    ]  # fmt: skip
    client.logout()
    assert client.post(page(token), {"username": "eve", **PASSWORD}).status_code == 404
    assert not User.objects.filter(username="eve").exists()


@pytest.mark.parametrize(
    ("field", "value"), [("username", "alice"), ("password2", "other"), ("password1", "1234567890")]
)
def test_a_sign_up_with_a_fault_is_shown_again_and_uses_nothing_up(client, link, field, value):
    token, row = link
    data = {"username": "bob", **PASSWORD, field: value}
    if field == "password1":
        data["password2"] = value
    answer = client.post(page(token), data)
    assert answer.status_code == 200
    assert "aria-invalid" in answer.content.decode()
    assert PASSWORD["password1"] not in answer.content.decode()
    assert not User.objects.filter(username="bob").exists()
    row.refresh_from_db()
    assert row.used_at is None


def used(org, alice, row, token):
    invitations.accept(token, user=factories.make_user())


def revoked(org, alice, row, token):
    invitations.revoke(row, actor=alice)


def expired(org, alice, row, token):
    Invitation.objects.update(expires_at=timezone.now())


def maker_removed(org, alice, row, token):
    factories.make_user("olga", org=org, role="owner")
    services.remove_member(alice.memberships.get(), actor=alice)


def maker_demoted(org, alice, row, token):
    factories.make_user("olga", org=org, role="owner")
    services.change_role(alice.memberships.get(), actor=alice, role="editor")


def maker_switched_off(org, alice, row, token):
    User.objects.filter(pk=alice.pk).update(is_active=False)


def maker_deleted(org, alice, row, token):
    User.objects.filter(pk=alice.pk).delete()


def never_was(org, alice, row, token):
    Invitation.objects.all().delete()


ENDS = [used, revoked, expired, maker_removed, maker_demoted, maker_switched_off, maker_deleted, never_was]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_link_that_is_over_says_so_alike_and_tells_nothing(client, signed_in, link, org, alice, end):
    token, row = link
    bob = factories.make_user("bob")
    end(org, alice, row, token)
    members = org.memberships.count()
    for method in ("get", "post"):
        answer = getattr(client, method)(page(token))
        assert answer.status_code == 404
        text = answer.content.decode()
        assert "This invitation is not valid, or not any more" in text
        assert org.name not in text
    by_api = signed_in(bob).post(ACCEPT, {"token": token}, format="json")
    assert error(by_api) == (404, "INVITATION_NOT_FOUND")
    assert by_api.json()["details"] == {"message": invitations.NOT_VALID}
    assert org.memberships.count() == members


def test_an_owner_who_is_admin_now_has_no_link_for_owners(org, alice):
    _, token = invitations.invite(org=org, actor=alice, role="owner")
    factories.make_user("olga", org=org, role="owner")
    services.change_role(alice.memberships.get(), actor=alice, role="admin")
    with pytest.raises(NotFound):
        invitations.accept(token, user=factories.make_user())
    assert Invitation.objects.with_makers().get().state == "void"


def test_by_api_the_caller_joins(signed_in, link, org):
    token, _ = link
    bob = factories.make_user("bob")
    answer = signed_in(bob).post(ACCEPT, {"token": token}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"orgId": str(org.pk), "role": "rater"})


def test_a_member_uses_nothing_up(client, api, link, org, alice):
    token, row = link
    assert error(api.post(ACCEPT, {"token": token}, format="json")) == (409, "CONFLICT")
    client.force_login(alice)
    assert "already" in client.get(page(token)).content.decode()
    assert client.post(page(token)).status_code == 409
    row.refresh_from_db()
    assert (row.used_at, org.memberships.get().role) == (None, "owner")


def test_a_key_joins_nothing(client, link, charlie):
    token, _ = link
    org = charlie.memberships.get().org
    _, key = api_keys.create_key(org=org, actor=charlie, name="K", permissions=["org:experiments:read"])
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.post(ACCEPT, {"token": token}, content_type="application/json", headers=headers)
    assert answer.status_code == 403
    assert Membership.objects.filter(user=charlie).count() == 1


def test_revoking_is_told_once_and_a_used_one_cannot_be_revoked(api, url, link, org, alice):
    token, row = link
    for _ in range(2):
        assert api.delete(f"{url}/{row.pk}").status_code == 204
    assert AuditEvent.objects.filter(event="org.invitation.revoked").count() == 1
    assert api.get(f"{url}/{row.pk}").json()["invitation"]["state"] == "revoked"
    second, token = invitations.invite(org=org, actor=alice, role="viewer")
    invitations.accept(token, user=factories.make_user())
    assert error(api.delete(f"{url}/{second.pk}")) == (409, "CONFLICT")


def test_guesses_are_bounded_and_good_links_do_not_count(client, link):
    token, _ = link
    for _ in range(30):
        assert client.get(page(token)).status_code == 200
    answers = [client.get(page(f"guess-{n}")).status_code for n in range(21)]
    assert answers == [404] * 20 + [429]
    refused = client.get(page(token))
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0


def test_names_of_accounts_cannot_be_tried_out_with_one_link(client, link, alice):
    token, _ = link
    answers = [client.post(page(token), {"username": "alice", **PASSWORD}).status_code for _ in range(21)]
    assert answers == [200] * 20 + [429]


def test_of_two_who_use_a_link_at_once_one_joins(transactional_db):
    org = factories.make_org()
    maker = factories.make_user(org=org, role="owner")
    _, token = invitations.invite(org=org, actor=maker, role="viewer")
    people = [factories.make_user() for _ in range(2)]
    outcomes, together = [], threading.Barrier(2)

    def join(user):
        together.wait()
        try:
            invitations.accept(token, user=user)
            outcomes.append("joined")
        except (NotFound, Conflict):
            outcomes.append("refused")
        except Exception as problem:  # noqa: BLE001 - shown by the assertion
            outcomes.append(type(problem).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=join, args=[user]) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["joined", "refused"]
    assert org.memberships.count() == 2
