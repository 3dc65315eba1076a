"""Each changing route of API and console makes exactly its event, in the transaction of its change.

A route without an entry in the table fails; so does one that changes something and says that it does not.
"""

from __future__ import annotations

import re

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError
from django.test import Client
from django.urls import URLPattern, get_resolver

from evalsuite.audit import services
from evalsuite.audit.models import AuditEvent
from evalsuite.ids import new_id
from tests import factories
from tests.audit.events import forget_events, names_of_events
from tests.audit.routes import ROUTES
from tests.audit.world import build, changed, contents
from tests.fuzz.providing import ProviderForAll

CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def server():
    with ProviderForAll() as running:
        yield running


@pytest.fixture
def world(org, alice, server, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    made = build(org, alice, server.url)
    forget_events()
    return made


def of_url_conf(patterns=None, prefix=""):
    """Each path with its view, but for the admin's: they have a table of their own."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield path, entry.callback
        elif not path.startswith("admin/"):
            yield from of_url_conf(entry.url_patterns, path)


def changing_calls():
    for path, callback in of_url_conf():
        view = getattr(callback, "view_class", None) or getattr(callback, "cls", None)
        for method in CHANGING:
            name = method.lower()
            if view and name in view.http_method_names and hasattr(view, name):
                yield method, path


FUNCTIONS = [
    path
    for path, callback in of_url_conf()
    if not hasattr(callback, "view_class") and not hasattr(callback, "cls")
]


def test_every_changing_route_is_in_the_table():
    assert set(changing_calls()) == set(ROUTES)


def test_views_that_are_functions_only_tell(world):
    before = contents()
    for path in FUNCTIONS:
        for method in CHANGING:
            client(world, path).generic(method, f"/{path}")
    assert len(FUNCTIONS) >= 4
    assert (names_of_events(), changed(before, contents())) == ([], set())


def client(world, path, user=None):
    """Signed in by a session, without CSRF; the API takes it as well."""
    made = Client(raise_request_exception=False)
    if not path.startswith(("login", "api/v1/auth")):
        made.force_login(user or world.alice)
    return made


def address(world, path, ids=None):
    known = {**vars(world), **(ids or {})}
    return "/" + re.sub(r"<str:(\w+)>", lambda match: str(known[match[1]]), path)


def cases():
    return [
        pytest.param(
            method,
            path,
            id=f"{method} {path}",
            marks=[pytest.mark.django_db(transaction=True)] if how.streams else [],
        )
        for (method, path), how in ROUTES.items()
    ]


@pytest.mark.parametrize(("method", "path"), cases())
def test_it_makes_exactly_its_event(world, charlie, method, path, monkeypatch):
    """One after the other on the same rows, for what is not done must leave them as they are."""
    attempt = Attempt(world, method, path)
    if "<str:org_id>" in path:
        attempt.by_a_stranger(charlie)
    if attempt.how.events:
        attempt.refused()
        attempt.without_its_event(monkeypatch)
    attempt.done()


class Attempt:
    """One route on one world."""

    def __init__(self, world, method, path):
        self.world, self.method, self.path = world, method, path
        self.how = ROUTES[method, path]
        self.ids = self.how.before(world) or {}
        body = self.how.body
        self.body = body(world) if callable(body) else body
        self.before = contents()

    @property
    def org_id(self):
        """Of the org that its events belong to."""
        if self.how.of_other_org:
            return self.world.other_org.pk
        return self.world.org_id if "<str:org_id>" in self.path else None

    def call(self, *, body=None, ids=None, user=None):
        url = address(self.world, self.path, {**self.ids, **(ids or {})})
        is_form = not self.path.startswith("api/") and self.method == "POST"
        form = {} if is_form else {"content_type": "application/json"}
        send = getattr(client(self.world, self.path, user), self.method.lower())
        given = self.body if body is None else body
        response = send(url, data=given, headers=self.how.headers, **form)
        if response.streaming:
            async_to_sync(_whole)(response)
        return response

    def changed(self):
        return changed(self.before, contents())

    def by_a_stranger(self, stranger):
        assert self.call(user=stranger).status_code == 404
        assert (names_of_events(), self.changed()) == ([], set())

    def refused(self):
        """For a bad body, or for ids that are not there."""
        missing = {}
        if self.how.bad is None and "<str:" not in self.path:
            return  # nothing can be wrong with it
        if self.how.bad is None:
            names = [name for name in re.findall(r"<str:(\w+)>", self.path) if name != "org_id"]
            missing = {name: new_id() for name in names}
            missing |= {"version": 99} if "version" in missing else {}
        response = self.call(body=self.how.bad or {}, ids=missing)
        shown_again = response.status_code == 200 and not self.path.startswith("api/")
        assert 400 <= response.status_code < 500 or shown_again
        assert names_of_events() == list(self.how.refused)
        assert self.changed() == set()
        forget_events()

    def without_its_event(self, monkeypatch):
        """An event that cannot be written takes its change with it: they are one transaction."""
        tried = []

        def refuse(*_):
            tried.append(1)
            raise DatabaseError("the event cannot be written")

        with monkeypatch.context() as patch:
            patch.setattr(services, "insert_rows", refuse)
            response = self.call()
        assert tried
        assert response.status_code == 500 or self.how.streams
        assert names_of_events() == []
        assert self.changed() <= self.how.also

    def done(self):
        self.ids = self.how.before(self.world) or {}
        self.before = contents()
        response = self.call()
        assert response.status_code < 400, response.content
        assert names_of_events() == list(self.how.events)
        assert self.how.seen_by_its_event_alone or bool(self.changed()) == bool(self.how.events)
        for event in AuditEvent.objects.all():
            assert event.org_id == self.org_id
            assert (event.actor_id, event.actor_name) == (self.world.alice.pk, "alice")
            assert (event.address, event.request_id) == ("127.0.0.1", response["X-Request-ID"])
            assert event.object_id


async def _whole(response):
    return b"".join([part async for part in response.streaming_content])


def test_no_event_holds_a_password_or_a_key(world):
    keyed = Attempt(world, "POST", "api/v1/orgs/<str:org_id>/providers")
    keyed.body = {**keyed.body, "apiKey": "sk-canary"}
    assert keyed.call().status_code == 201
    for path in ("login", "api/v1/auth/token", "account/password"):
        Attempt(world, "POST", path).call()
    assert len(names_of_events()) == 4
    told = str(list(AuditEvent.objects.values()))
    assert not any(secret in told for secret in ("sk-canary", factories.PASSWORD, "another-good-horse-9"))
