"""Keys for programs: shown once, worth what their maker is worth and no more, and over at any time."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs import api_keys
from evalsuite.orgs.models import ApiKey, Membership, User
from evalsuite.orgs.permissions import FOR_KEYS, ROLE_PERMISSIONS
from experiments.models import Experiment
from tests import factories
from tests.test_urlconf import API_CALLS, CONSOLE_CALLS, OF_AN_ORG, address, call, view_of

READ, WRITE = "org:experiments:read", "org:experiments:write"


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/api-keys"


@pytest.fixture
def make(org, alice):
    """A key of Alice's with these permissions, and a client that shows it."""

    def make(*permissions, actor=alice, **options):
        key, token = api_keys.create_key(
            org=org, actor=actor, name="ci", permissions=permissions or FOR_KEYS, **options
        )
        return key, bearer(token)

    return make


def bearer(token):
    client = APIClient(enforce_csrf_checks=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def experiments(client, org):
    response = client.get(f"/api/v1/orgs/{org.pk}/experiments")
    return response.status_code, response.json().get("error")


OPEN, CLOSED = (200, None), (401, "UNAUTHENTICATED")


def test_a_key_is_made_shown_once_and_opens_what_it_may(api, url, org, alice):
    body = {"name": "CI", "permissions": [READ], "expiresInDays": 30}
    response = api.post(url, body, format="json")
    assert response.status_code == 201
    token, told = response.json()["token"], response.json()["key"]
    assert token.startswith("evs_")
    assert len(token) >= 47
    assert token.startswith(told["hint"])
    assert (told["permissions"], told["createdBy"]["username"]) == ([READ], "alice")
    assert (told["lastUsedAt"], told["revokedAt"]) == (None, None)
    assert experiments(bearer(token), org) == OPEN
    for again in (api.get(url), api.get(f"{url}/{told['id']}")):
        assert token not in again.content.decode()
        assert told["hint"] in again.content.decode()


def test_of_a_key_only_a_digest_is_kept(api, url):
    token = api.post(url, {"name": "CI", "permissions": [READ]}, format="json").json()["token"]
    row = ApiKey.objects.values().get()
    assert row["digest"] == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(row)
    assert token[len(row["hint"]) :] not in str(row)


def test_making_and_revoking_are_in_the_audit_log_without_the_key(api, url, org, alice):
    body = {"name": "CI", "permissions": [READ]}
    answer = api.post(url, body, format="json").json()
    for _ in range(2):  # the second is no change
        assert api.delete(f"{url}/{answer['key']['id']}").status_code == 204
    made, revoked = AuditEvent.objects.order_by("id")
    assert (made.event, made.org, made.actor, made.after["permissions"]) == (
        "apikey.created",
        org,
        alice,
        [READ],
    )
    assert (revoked.event, revoked.before["name"]) == ("apikey.revoked", "CI")
    assert answer["token"] not in str([made.after, revoked.before])


def test_what_a_key_changes_is_recorded_under_its_makers_name_and_its_own(make, org, alice):
    _, client = make(WRITE)
    made = client.post(f"/api/v1/orgs/{org.pk}/experiments", {"name": "by a program"}, format="json")
    assert made.status_code == 201
    event = AuditEvent.objects.get(event="experiment.created")
    assert (event.actor, event.actor_name) == (alice, "alice by key ci")
    assert Experiment.objects.get().created_by == alice


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"permissions": [READ]}, "name"),
        ({"name": "x"}, "permissions"),
        ({"name": "x", "permissions": []}, "permissions"),
        ({"name": "x", "permissions": ["org:members:manage"]}, "permissions.0"),
        ({"name": "x", "permissions": ["org:keys:manage"]}, "permissions.0"),
        ({"name": "x", "permissions": ["everything"]}, "permissions.0"),
        ({"name": "x", "permissions": [READ], "expiresInDays": 0}, "expiresInDays"),
        ({"name": "x", "permissions": [READ], "expiresInDays": 366}, "expiresInDays"),
        ({"name": "x", "permissions": [READ], "digest": "x"}, "digest"),
    ],
)
def test_a_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])
    assert not ApiKey.objects.exists()


def test_nobody_gives_what_they_lack(org):
    editor = factories.make_user(org=org, role="editor")
    with pytest.raises(api_keys.Forbidden):
        api_keys.create_key(org=org, actor=editor, name="x", permissions=["org:models:write"])
    with pytest.raises(api_keys.InvalidBody):
        api_keys.create_key(org=org, actor=editor, name="x", permissions=["org:members:manage"])


def test_a_key_may_what_it_was_given_and_what_that_implies(make, org):
    _, reader = make(READ)
    _, writer = make(WRITE)
    body = {"name": "x"}
    refused = reader.post(f"/api/v1/orgs/{org.pk}/experiments", body, format="json")
    assert (refused.status_code, refused.json()["details"]["permission"]) == (403, WRITE)
    assert writer.post(f"/api/v1/orgs/{org.pk}/experiments", body, format="json").status_code == 201
    assert experiments(writer, org) == OPEN


@pytest.mark.matrix
@pytest.mark.parametrize(("path", "method"), API_CALLS)
def test_a_key_with_nothing_but_one_permission_gets_403_wherever_another_is_needed(make, org, path, method):
    """Every route of the API: the key is stopped by the permission, before anything is looked up."""
    needed = view_of(OF_AN_ORG[path]).permission_for(method.upper())
    other = "org:audit:read" if needed != "org:audit:read" else READ
    _, client = make(other)
    response = call(client, method, address(path, org))
    assert (response.status_code, response.json()["error"]) == (403, "FORBIDDEN")
    assert response.json()["details"]["permission"] == needed


def test_a_key_with_all_it_may_have_makes_no_keys_and_touches_no_members(make, url, org, alice):
    _, client = make()
    members = f"/api/v1/orgs/{org.pk}/members"
    member = Membership.objects.get(user=alice)
    factories.make_user("new")
    calls = [
        (url, "get", None),
        (url, "post", {"name": "x", "permissions": [READ]}),
        (f"{url}/{ApiKey.objects.get().pk}", "delete", None),
        (members, "get", None),
        (members, "post", {"username": "new", "role": "owner"}),
        (f"{members}/{member.pk}", "patch", {"role": "viewer"}),
        (f"{members}/{member.pk}", "delete", None),
        (f"/api/v1/orgs/{org.pk}", "patch", {"name": "mine"}),
    ]
    for path, method, body in calls:
        response = getattr(client, method)(path, body, format="json")
        assert (response.status_code, response.json()["error"]) == (403, "FORBIDDEN"), (method, path)
    assert ApiKey.objects.get().revoked_at is None
    assert Membership.objects.count() == 1


@pytest.mark.matrix
@pytest.mark.parametrize(("path", "method"), CONSOLE_CALLS)
def test_a_key_opens_no_page_of_the_console(make, org, path, method):
    _, client = make()
    client.handler.enforce_csrf_checks = False  # or that would be what stops it
    response = call(client, method, address(path, org))
    assert (response.status_code, response["Location"].split("?")[0]) == (302, "/login")


def test_a_key_opens_neither_the_admin_nor_an_account(org, make):
    root = factories.make_user(is_superuser=True, is_staff=True)
    _, client = make(actor=root)
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/login?next=/admin/"
    assert client.get("/account/password")["Location"].startswith("/login")
    token = client._credentials["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    for path in ("refresh", ""):
        answer = Client().post(
            f"/api/v1/auth/token/{path}".rstrip("/"), {"refresh": token}, "application/json"
        )
        assert answer.status_code in {400, 401}


def test_a_key_of_a_superuser_acts_in_its_org_and_as_no_superuser(make, org, charlie):
    root = factories.make_user(is_superuser=True)
    _, client = make(actor=root)
    other = charlie.memberships.get().org
    assert experiments(client, org) == OPEN
    assert experiments(client, other) == (404, "ORG_NOT_FOUND")
    shared = factories.make_model().provider
    answer = client.post(f"/api/v1/orgs/{org.pk}/providers/{shared.pk}/test")
    assert answer.status_code == 403
    told = client.get("/api/v1/me").json()["user"]
    assert told["isSuperuser"] is False
    assert [row["id"] for row in told["orgs"]] == [str(org.pk)]
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    assert experiments(client, org) == CLOSED


def test_a_key_is_for_one_org(make, org, alice):
    second = factories.make_org()
    Membership.objects.create(org=second, user=alice, role="owner")
    _, client = make()
    assert experiments(client, second) == (404, "ORG_NOT_FOUND")
    assert [row["id"] for row in client.get("/api/v1/orgs").json()["orgs"]] == [str(org.pk)]


def test_the_account_tells_what_the_key_may(make, org):
    _, client = make(WRITE)
    (told,) = client.get("/api/v1/me").json()["user"]["orgs"]
    assert told["permissions"] == ["org:experiments:rate", READ, WRITE]


def test_a_role_that_is_taken_away_takes_its_permissions_from_the_key(make, org, alice):
    _, client = make(WRITE, "org:models:write")
    Membership.objects.filter(user=alice).update(role="viewer")
    assert experiments(client, org) == OPEN
    refused = client.post(f"/api/v1/orgs/{org.pk}/experiments", {"name": "x"}, format="json")
    assert (refused.status_code, refused.json()["details"]["permission"]) == (403, WRITE)
    Membership.objects.filter(user=alice).update(role="owner")
    assert client.post(f"/api/v1/orgs/{org.pk}/experiments", {"name": "x"}, format="json").status_code == 201


def ended_by_the_membership(key, alice):
    Membership.objects.filter(user=alice).delete()


def ended_by_the_account(key, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False)


def ended_by_deletion_of_the_account(key, alice):
    alice.delete()


def ended_by_time(key, alice):
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())


def ended_by_revoking(key, alice):
    api_keys.revoke(key, actor=alice)


@pytest.mark.parametrize(
    "end",
    [
        ended_by_the_membership,
        ended_by_the_account,
        ended_by_deletion_of_the_account,
        ended_by_time,
        ended_by_revoking,
    ],
)
def test_a_key_ends_with_the_next_request(make, org, alice, end):
    key, client = make()
    assert experiments(client, org) == OPEN
    end(key, alice)
    assert experiments(client, org) == CLOSED


def test_rights_in_hand_are_looked_up_anew(make, org, alice):
    """As a stream does it that is open for longer."""
    key, _ = make()
    user = User.objects.get(pk=alice.pk)
    user.acting_key = key
    assert org.permissions_of(user) == FOR_KEYS & ROLE_PERMISSIONS["owner"]
    api_keys.revoke(key, actor=alice)
    assert org.permissions_of(user) == frozenset()
    with pytest.raises(RuntimeError):
        user.save()


@pytest.mark.parametrize("token", ["evs_", "evs_x", "evs_" + "A" * 43, "evs_é", "EVS_x", "evs_ x"])
def test_what_is_no_key_is_401(org, token):
    client = bearer(token)
    response = client.get(f"/api/v1/orgs/{org.pk}/experiments")
    assert (response.status_code, response.json()["error"]) == CLOSED
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_use_is_noted_once_a_minute(make, org, django_assert_max_num_queries):
    key, client = make()

    def used():
        key.refresh_from_db()
        return key.last_used_at

    assert used() is None
    experiments(client, org)
    first = used()
    assert timezone.now() - first < timedelta(seconds=30)
    for _ in range(3):
        experiments(client, org)
    assert used() == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    experiments(client, org)
    assert used() > first


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_notes_the_use(org, alice, make, django_db_blocker):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    key, _ = make()
    writes, together = [], threading.Barrier(8)

    def note():
        row = ApiKey.objects.get(pk=key.pk)
        together.wait()
        with CaptureQueriesContext(connection):
            api_keys._note_use(row, timezone.now())
        row.refresh_from_db()
        writes.append(row.last_used_at)
        connection.close()

    threads = [threading.Thread(target=note) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(writes)) == 1


def test_limits_hold_for_keys(make, org, settings):
    settings.LIMIT_PLAYGROUND_PER_MINUTE = 1
    factories.set_default_model(org, factories.make_model())
    _, client = make("org:playground:use")
    path = f"/api/v1/orgs/{org.pk}/playground/complete"
    answers = [client.post(path, {"prompt": "hello"}, format="json") for _ in range(2)]
    assert answers[1].status_code == 429
    assert answers[1].json()["error"] == "RATE_LIMITED"


@pytest.mark.parametrize("role", ["editor", "rater", "viewer"])
def test_other_roles_neither_see_nor_make_keys(url, org, signed_in, role):
    client = signed_in(factories.make_user(org=org, role=role))
    answers = [client.get(url), client.post(url, {"name": "x", "permissions": [READ]}, format="json")]
    assert [answer.json()["details"]["permission"] for answer in answers] == ["org:keys:manage"] * 2


def test_another_orgs_key_is_404(api, charlie, url):
    other = charlie.memberships.get().org
    key, _ = api_keys.create_key(org=other, actor=charlie, name="x", permissions=[READ])
    for method in ("get", "delete"):
        response = getattr(api, method)(f"{url}/{key.pk}")
        assert (response.status_code, response.json()["error"]) == (404, "API_KEY_NOT_FOUND")
    key.refresh_from_db()
    assert key.revoked_at is None
