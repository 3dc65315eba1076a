"""The pages of an account, and where the console begins."""

from __future__ import annotations

import pytest
from django.test import Client

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Membership
from tests import factories

NEW = "another-long-password"


def log_in(client, password=factories.PASSWORD, **more):
    return client.post("/login", {"username": "alice", "password": password, **more})


def test_the_root_leads_to_the_console_and_that_to_the_login(client, db):
    assert client.get("/")["Location"] == "/app/"
    assert client.get("/app/")["Location"] == "/login?next=/app/"


def test_the_page_shows_the_form(client, db):
    page = client.get("/login").content.decode()
    assert 'name="username"' in page
    assert 'name="password"' in page


def test_logging_in_leads_to_the_console(client, alice):
    response = log_in(client)
    assert (response.status_code, response["Location"]) == (302, "/app/")
    event = AuditEvent.objects.get()
    assert (event.event, event.actor, event.after) == ("account.login", alice, {"way": "page"})


def test_it_leads_back_to_the_page_that_asked_and_nowhere_else(client, org, alice):
    here = f"/app/orgs/{org.pk}/experiments"
    assert log_in(client, next=here)["Location"] == here
    assert log_in(Client(), next="https://example.com/")["Location"] == "/app/"


def test_a_wrong_password_shows_the_form_with_the_reason(client, alice):
    response = log_in(client, "wrong")
    assert response.status_code == 200
    assert "correct username and password" in response.content.decode()
    assert AuditEvent.objects.get().event == "account.login.failed"


def test_too_many_failures_show_the_form_with_when_to_come_back(client, alice):
    for _ in range(10):
        assert log_in(client, "wrong").status_code == 200
    response = log_in(client)
    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= 900
    assert "Too many failed attempts. Try again in 15 minutes." in response.content.decode()
    assert "_auth_user_id" not in client.session


def test_without_a_csrf_token_nobody_logs_in(alice):
    assert log_in(Client(enforce_csrf_checks=True)).status_code == 403


def test_logging_out_takes_a_post(client, alice):
    client.force_login(alice)
    assert client.get("/logout").status_code == 405
    assert client.post("/logout")["Location"] == "/login"
    assert client.get("/app/")["Location"] == "/login?next=/app/"


def change_password(client, old=factories.PASSWORD, new=NEW):
    body = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post("/account/password", body)


def test_a_new_password_ends_the_other_sessions(client, alice):
    other = Client()
    for each in (client, other):
        each.force_login(alice)
    assert change_password(client)["Location"] == "/account/password/done"
    assert client.get("/account/password/done").status_code == 200
    assert other.get("/account/password").status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    event = AuditEvent.objects.get(event="account.password.changed")
    assert (event.actor, event.after) == (alice, None)


@pytest.mark.parametrize(("old", "new"), [("wrong", NEW), (factories.PASSWORD, "short")])
def test_a_refused_password_changes_nothing(client, alice, old, new):
    client.force_login(alice)
    assert change_password(client, old, new).status_code == 200
    alice.refresh_from_db()
    assert alice.check_password(factories.PASSWORD)
    told = [(event.event, event.actor) for event in AuditEvent.objects.all()]
    assert told == ([("account.password.refused", alice)] if old == "wrong" else [])


def test_the_present_password_is_guessed_ten_times_at_most(client, alice):
    client.force_login(alice)
    guesses = [change_password(client, old=f"wrong {n}") for n in range(12)]
    assert [answer.status_code for answer in guesses] == [200] * 10 + [429] * 2
    assert 800 < int(guesses[-1]["Retry-After"]) <= 900
    assert "Too many failed attempts." in guesses[-1].content.decode()
    assert change_password(client).status_code == 429, "also with the right one"
    alice.refresh_from_db()
    assert alice.check_password(factories.PASSWORD)
    assert log_in(Client()).status_code == 429, "the doors count together"
    assert AuditEvent.objects.filter(event="account.password.refused").count() == 10


def test_a_right_password_is_no_guess(client, alice):
    client.force_login(alice)
    for _ in range(5):
        change_password(client, old="wrong")
    assert change_password(client, new="short").status_code == 200
    for _ in range(4):
        assert change_password(client, old="wrong").status_code == 200
    assert change_password(client).status_code == 302


def test_the_admin_has_no_other_page_for_it(client, alice):
    client.force_login(alice)
    for answer in (client.get("/admin/password_change/"), client.post("/admin/password_change/")):
        assert (answer.status_code, answer["Location"]) == (302, "/account/password")


@pytest.mark.parametrize(
    ("role", "page"),
    [("owner", "playground"), ("editor", "playground"), ("rater", "experiments"), ("viewer", "experiments")],
)
def test_the_console_begins_on_the_first_page_that_the_role_may_see(client, org, role, page):
    client.force_login(factories.make_user(org=org, role=role))
    assert client.get("/app/")["Location"] == f"/app/orgs/{org.pk}/{page}"


def test_the_console_begins_in_the_first_org_by_name(client, alice):
    first = factories.make_org("A")
    Membership.objects.create(org=first, user=alice, role="viewer")
    client.force_login(alice)
    assert client.get("/app/")["Location"] == f"/app/orgs/{first.pk}/experiments"


def test_without_an_org_there_is_a_page_that_says_so(client, org):
    client.force_login(factories.make_user())
    response = client.get("/app/")
    assert response.status_code == 200
    assert "organisation" in response.content.decode()
