"""Accounts that an operator's commands write leave audit events, in the transaction that writes them."""

from __future__ import annotations

import pytest
from django.contrib.auth.management.commands import changepassword
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from evalsuite.audit import services
from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Org, User
from experiments import demo
from tests import factories

NEW = "another-good-horse-9"
pytestmark = pytest.mark.django_db


@pytest.fixture
def typed(monkeypatch):
    monkeypatch.setattr(changepassword.getpass, "getpass", lambda prompt: NEW)


@pytest.fixture
def deaf(monkeypatch):
    """An audit log that takes nothing."""

    def refuse(*_):
        raise DatabaseError("the event cannot be written")

    monkeypatch.setattr(services, "insert_rows", refuse)


def events():
    return [(event.event, event.actor, event.after) for event in AuditEvent.objects.order_by("id")]


def by_command(user):
    return {"username": user.username, "superuser": user.is_superuser, "way": "command"}


def make_root(monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW)
    call_command("createsuperuser", "--noinput", username="root", email="root@example.org", verbosity=0)


def test_a_password_that_is_changed(alice, typed):
    call_command("changepassword", "alice")
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert events() == [("account.password.changed", None, by_command(alice))]
    assert AuditEvent.objects.get().object_id == str(alice.pk)


def test_a_superuser_that_is_made(monkeypatch):
    make_root(monkeypatch)
    root = User.objects.get(username="root")
    assert root.is_superuser
    assert events() == [("account.created", None, by_command(root))]


def test_what_fails_leaves_none(alice, typed, monkeypatch):
    monkeypatch.setattr(changepassword.getpass, "getpass", lambda prompt: "short")
    with pytest.raises(CommandError):
        call_command("changepassword", "alice")
    with pytest.raises(CommandError):
        call_command("changepassword", "nobody")
    assert events() == []


def test_without_its_event_nothing_is_changed(alice, typed, deaf, monkeypatch):
    with pytest.raises(DatabaseError):
        call_command("changepassword", "alice")
    with pytest.raises(DatabaseError):
        make_root(monkeypatch)
    alice.refresh_from_db()
    assert alice.check_password(factories.PASSWORD)
    assert not User.objects.filter(username="root").exists()


def test_accounts_that_are_saved_later_leave_nothing(alice, typed):
    call_command("changepassword", "alice")
    alice.save()
    factories.make_user("bob")
    assert len(events()) == 1


def test_a_fresh_installation_tells_of_all_that_it_begins_with(capsys):
    call_command("seed_demo")
    admin, org = User.objects.get(username=demo.USERNAME), Org.objects.get(slug=demo.ORG_SLUG)
    told = events()
    assert told[:3] == [
        ("org.created", None, {"name": "Demo", "slug": "demo"}),
        ("account.created", None, by_command(admin)),
        ("org.member.added", None, {"username": "admin", "role": "owner"}),
    ]
    assert {event.org for event in AuditEvent.objects.exclude(event="account.created")} == {org}
    password = capsys.readouterr().out.split(" with the password ")[1].split()[0]
    assert admin.check_password(password)
    assert password not in str(told)
    assert "experiment.created" in [name for name, _, _ in told[3:]]
    call_command("seed_demo")
    assert events() == told
