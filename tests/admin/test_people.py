from __future__ import annotations

from django.contrib import admin
from django.urls import reverse

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Membership, Org, User
from tests import factories
from tests.admin.helpers import (
    messages_of,
    url,
)


def test_orgs_are_made_by_superusers_only(signed_in, org):
    client = signed_in("owner")
    assert client.get(url(Org, "add")).status_code == 403
    assert client.get(url(Org, "change", org.pk)).status_code == 200


def test_members_are_added_by_those_who_manage_them_among_people_they_know(signed_in, org, charlie, alice):
    client = signed_in("admin")
    bob = factories.make_user("bob")
    page = url(Org, "change", org.pk)
    text = client.get(page).content.decode()
    assert "alice" in text
    assert "charlie" not in text
    text = client.get(url(Membership, "add")).content.decode()
    assert "charlie" not in text
    data = {"org": str(org.pk), "user": str(bob.pk), "role": "viewer"}
    assert client.post(url(Membership, "add"), data).status_code == 200
    assert not bob.memberships.exists()


def test_people_are_made_and_changed_with_an_audit_event(root):
    data = {"username": "dora", "password1": factories.PASSWORD, "password2": factories.PASSWORD}
    answer = root.post(url(User, "add"), {**data, "usable_password": "true"})
    assert answer.status_code == 302
    dora = User.objects.get(username="dora")
    assert root.get(url(User, "change", dora.pk)).status_code == 200
    passwords = {
        "password1": "another-long-one-7",
        "password2": "another-long-one-7",
        "usable_password": "true",
    }
    assert root.post(reverse("admin:auth_user_password_change", args=[dora.pk]), passwords).status_code == 302
    events = AuditEvent.objects.filter(object_id=str(dora.pk)).order_by("id")
    assert [event.event for event in events] == ["admin.user.created", "admin.user.changed"]
    assert "another-long" not in str(list(events.values_list("after")))


def test_who_manages_members_sees_the_people_of_the_own_org_and_changes_none(signed_in, org, alice, charlie):
    client = signed_in("admin")
    text = client.get(url(User, "changelist")).content.decode()
    assert "alice" in text
    assert "charlie" not in text
    page = url(User, "change", alice.pk)
    text = client.get(page).content.decode()
    assert "superuser" not in text.lower()
    assert alice.password not in text
    assert client.get(url(User, "change", charlie.pk)).status_code == 404
    assert client.get(url(User, "add")).status_code == 403
    assert client.post(page, {"username": "x", "is_superuser": "on"}).status_code == 403
    assert client.get(reverse("admin:auth_user_password_change", args=[alice.pk])).status_code == 403
    data = {"app_label": "orgs", "model_name": "membership", "field_name": "user"}
    found = client.get(reverse("admin:autocomplete"), data).json()["results"]
    assert {row["text"] for row in found} == {"alice", "sam-admin"}


def test_who_manages_no_members_sees_no_people(signed_in, alice):
    client = signed_in("editor")
    assert client.get(url(User, "changelist")).status_code == 403
    assert client.get(url(User, "change", alice.pk)).status_code in {302, 403}


def test_tokens_and_groups_have_no_page():
    assert not {"OutstandingToken", "BlacklistedToken", "Group"} & {m.__name__ for m in admin.site._registry}


def members_form(org, *roles, delete=()):
    rows = list(org.memberships.order_by("created_at", "id"))
    data = {"name": org.name, "slug": org.slug}
    data |= {"memberships-TOTAL_FORMS": str(len(rows)), "memberships-INITIAL_FORMS": str(len(rows))}
    for number, row in enumerate(rows):
        role = roles[number] if number < len(roles) else row.role
        fields = {"id": row.pk, "org": org.pk, "user": row.user_id, "role": role}
        if number in delete:
            fields["DELETE"] = "on"
        data |= {f"memberships-{number}-{name}": str(value) for name, value in fields.items()}
    return data


def test_the_last_owner_stays(root, org, alice):
    page = url(Org, "change", org.pk)
    assert "at least one owner" in root.post(page, members_form(org, "viewer")).content.decode()
    assert "at least one owner" in root.post(page, members_form(org, delete={0})).content.decode()
    member = alice.memberships.get()
    data = {"org": org.pk, "user": alice.pk, "role": "viewer"}
    assert root.post(url(Membership, "change", member.pk), data).status_code == 200
    answer = root.post(url(Membership, "delete", member.pk), {"post": "yes"}, follow=True)
    assert "The last owner stays" in messages_of(answer)[0]
    factories.make_user("olga", org=org, role="owner")
    assert root.post(page, members_form(org, "viewer")).status_code == 302
    member.refresh_from_db()
    assert member.role == "viewer"


def test_only_owners_make_owners_and_remove_them(signed_in, org, alice):
    client = signed_in("admin")
    page = url(Org, "change", org.pk)
    assert "Only an owner" in client.post(page, members_form(org, "owner", "owner")).content.decode()
    assert "Only an owner" in client.post(page, members_form(org, delete={0})).content.decode()
    member = alice.memberships.get()
    assert client.post(url(Membership, "delete", member.pk), {"post": "yes"}).status_code == 403
    assert set(org.memberships.values_list("role", flat=True)) == {"owner", "admin"}
    assert client.post(page, members_form(org)).status_code == 302
