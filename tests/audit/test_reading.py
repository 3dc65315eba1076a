"""Reading the log: by the API, as a file, and on the page, all with the same filters."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from rest_framework.test import APIClient

from evalsuite import context
from evalsuite.audit.models import AuditEvent
from evalsuite.audit.services import Event, record, record_many
from evalsuite.ids import new_id
from experiments.models import ExperimentRun
from tests import factories

FACTS = context.RequestFacts(request_id="r1", address="203.0.113.7")


@pytest.fixture
def bob(org):
    return factories.make_user("bob", org=org, role="admin")


@pytest.fixture
def log(org, alice, bob, charlie):
    elsewhere = charlie.memberships.get().org
    token = context.current.set(FACTS)
    record("org.updated", org=org, actor=alice, subject=org, before={"name": "A"}, after={"name": "<b>B</b>"})
    context.current.reset(token)
    record("experiment.created", org=org, actor=bob, subject=org)
    record("experiment.run.completed", org=org, actor=bob)
    record("experimental", org=org, actor=None)
    record("org.updated", org=elsewhere, actor=alice, subject=elsewhere, after={"name": "canary"})
    record("account.login", org=None, actor=alice, after={"way": "canary"})
    return list(AuditEvent.objects.order_by("id"))


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/audit"


def lines(answer):
    content = b"".join(answer.streaming_content) if not answer.is_async else None
    return [json.loads(line) for line in content.splitlines()]


def listed(api, url, **query):
    return [event["event"] for event in api.get(url, query).json()["events"]]


def test_an_event_tells_all_that_was_noted(api, url, log, org, alice):
    answer = api.get(url)
    assert answer.status_code == 200
    assert answer.json()["events"][-1] == {
        "id": str(log[0].pk),
        "createdAt": log[0].created_at.isoformat().replace("+00:00", "Z"),
        "event": "org.updated",
        "actorId": str(alice.pk),
        "actorName": "alice",
        "objectType": "orgs.org",
        "objectId": str(org.pk),
        "before": {"name": "A"},
        "after": {"name": "<b>B</b>"},
        "address": "203.0.113.7",
        "requestId": "r1",
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["experimental", "experiment.run.completed", "experiment.created", "org.updated"]),
        ({"event": "experiment"}, ["experiment.run.completed", "experiment.created"]),
        ({"event": "experiment."}, ["experiment.run.completed", "experiment.created"]),
        ({"event": "experiment.created"}, ["experiment.created"]),
        ({"event": "experiment.run"}, ["experiment.run.completed"]),
        ({"event": "experiment.run.completed"}, ["experiment.run.completed"]),
        ({"event": "exp"}, []),
        ({"actor": "alice"}, ["org.updated"]),
        ({"actor": "bob", "event": "experiment.created"}, ["experiment.created"]),
        ({"actor": "nobody"}, []),
        ({"from": "2020-01-01", "to": "2020-12-31"}, []),
        ({"from": "1066-01-01", "to": "1066-12-31"}, []),
        ({"from": "9999-01-01"}, []),
    ],
)
def test_filters(api, url, log, query, names):
    assert listed(api, url, **query) == names


@pytest.mark.parametrize(
    "query", [{"from": "0001-01-01", "to": "9999-12-31"}, {"to": "9999-12-31T23:59:59Z"}]
)
def test_the_first_day_and_the_last_that_there_are(api, url, log, client, alice, org, query):
    assert len(listed(api, url, **query)) == 4
    assert api.get(f"{url}/export", query).status_code == 200
    client.force_login(alice)
    assert client.get(f"/app/orgs/{org.pk}/audit", query).content.count(b"org.updated") >= 1


def test_a_name_is_found_with_those_below_it(api, url, log, org, alice):
    record("org.updated.again", org=org, actor=alice, subject=org)
    record("org.updatedly", org=org, actor=alice, subject=org)
    assert listed(api, url, event="org.updated") == ["org.updated.again", "org.updated"]


def test_filters_by_ids_and_times(api, url, log, org, alice):
    assert listed(api, url, actor=str(alice.pk)) == ["org.updated"]
    assert listed(api, url, object=str(org.pk)) == ["experiment.created", "org.updated"]
    assert listed(api, url, object=org.pk.hex.upper()) == ["experiment.created", "org.updated"]
    third = log[2].created_at.isoformat()
    assert listed(api, url, **{"from": third})[-1] == "experiment.run.completed"
    assert listed(api, url, to=third)[0] == "experiment.run.completed"
    today = log[0].created_at.astimezone(UTC).date().isoformat()
    assert len(listed(api, url, **{"from": today, "to": log[-1].created_at.date().isoformat()})) == 4


def test_an_event_is_found_by_the_name_of_a_person_who_is_gone(api, url, log, bob):
    bob.delete()
    assert listed(api, url, actor="bob") == ["experiment.run.completed", "experiment.created"]
    assert api.get(url, {"actor": "bob"}).json()["events"][0]["actorId"] == str(bob.pk or log[1].actor_id)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"event": "a\0b"}, "event"),
        ({"actor": "x" * 201}, "actor"),
        ({"from": "0001-01-01T00:00:00+05:00"}, "from"),
    ],
)
def test_a_filter_that_is_wrong_is_named(api, url, log, query, name):
    for address in (url, f"{url}/export"):
        answer = api.get(address, query)
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_BODY")
        assert list(answer.json()["details"]) == [name]


def test_pages_by_cursor_hold_each_event_once(api, url, org, alice):
    record_many(Event("test.happened", org, alice, org, after={"n": n}) for n in range(7))
    seen, following = [], f"{url}?limit=3&event=test"
    while following:
        page = api.get(following).json()
        seen += [event["after"]["n"] for event in page["events"]]
        following = page["next"]
        record("test.happened", org=org, actor=alice, after={"n": "later"})
    assert seen == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("role", ["editor", "rater", "viewer"])
def test_only_who_may_read_the_audit_log_does(org, url, log, role):
    someone = factories.make_user(org=org, role=role)
    api, console = APIClient(), Client()
    api.force_authenticate(someone)
    console.force_login(someone)
    for address in (url, f"{url}/export"):
        answer = api.get(address)
        assert (answer.status_code, answer.json()["details"]["permission"]) == (403, "org:audit:read")
    for address in (f"/app/orgs/{org.pk}/audit", f"/app/orgs/{org.pk}/audit/export"):
        assert console.get(address).status_code == 403
    assert b"/audit" not in console.get(f"/app/orgs/{org.pk}/experiments").content


def test_the_log_cannot_be_written_by_the_api(api, url, log):
    for method in ("post", "put", "patch", "delete"):
        assert getattr(api, method)(url, {}, format="json").status_code == 405


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", ["api/v1", "app"])
def test_the_file_holds_every_event_the_oldest_first(site, org, alice, door, monkeypatch):
    import requests

    monkeypatch.setattr("evalsuite.audit.export.AT_ONCE", 100)
    record_many(Event("test.happened", org, alice, org, after={"n": n}) for n in range(250))
    record("org.updated", org=org, actor=alice)
    client = Client()
    client.force_login(alice)
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    address = f"{site.url}/{door}/orgs/{org.pk}/audit/export"
    answer = requests.get(address, {"event": "test"}, cookies=cookies, timeout=20)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert f'filename="{org.slug}-audit.jsonl"' in answer.headers["Content-Disposition"]
    told = [json.loads(line) for line in answer.content.splitlines()]
    assert [event["after"]["n"] for event in told] == list(range(250))
    api = APIClient()
    api.force_authenticate(alice)
    assert told[-1] == api.get(f"/api/v1/orgs/{org.pk}/audit", {"event": "test"}).json()["events"][0]


@pytest.fixture
def console(client, alice):
    client.force_login(alice)
    return client


def test_the_page_shows_events_as_text(console, org, log):
    page = console.get(f"/app/orgs/{org.pk}/audit").content.decode()
    assert "&lt;b&gt;B&lt;/b&gt;" in page
    assert "<b>B</b>" not in page
    assert "203.0.113.7" in page
    assert "canary" not in page
    assert page.count('<li class="card outlined audit-event"') == 4


def test_the_page_says_in_words_what_was_changed_also_of_what_is_no_more(console, org, alice):
    record("experiment.run.completed", org=org, actor=alice, subject=ExperimentRun(pk=new_id()))
    AuditEvent.objects.create(org_id=org.pk, event="gone.updated", object_type="gone.widget", object_id="1")
    page = console.get(f"/app/orgs/{org.pk}/audit").content.decode()
    assert re.search(r"· run\s", page)
    assert re.search(r"· widget\s", page)
    assert "experimentrun" not in page


def test_the_page_filters_and_goes_on(console, org, alice):
    record_many(Event("test.happened", org, alice, org, after={"n": f"n{n:03}"}) for n in range(60))
    record("org.updated", org=org, actor=alice)
    first = console.get(f"/app/orgs/{org.pk}/audit", {"event": "test"})
    assert b"org.updated" not in first.content
    assert b"n059" in first.content
    assert b"n009" not in first.content
    second = console.get(f"/app/orgs/{org.pk}/audit{first.context['next']}")
    assert b"n009" in second.content
    assert b"n010" not in second.content
    assert second.context["next"] is None
    partial = console.get(f"/app/orgs/{org.pk}/audit", {"event": "test"}, headers={"HX-Request": "true"})
    assert b"<html" not in partial.content
    assert b"n059" in partial.content


def test_the_page_names_a_filter_that_is_wrong(console, org, log):
    answer = console.get(f"/app/orgs/{org.pk}/audit", {"from": "soon", "before": "x"})
    assert b"From: This must be a day or a time" in answer.content
    assert answer.context["events"] == []


def test_a_page_costs_the_same_however_long_the_log_is(console, org, alice, django_assert_max_num_queries):
    record_many(Event("test.happened", org, alice, org) for _ in range(200))
    with django_assert_max_num_queries(8):
        console.get(f"/app/orgs/{org.pk}/audit")


def test_a_time_finds_events_made_around_it(api, url, org, alice):
    """The time in the id and the time beside it are taken one after the other."""
    at = datetime(2026, 1, 31, 23, 59, 59, 999_000, UTC)
    AuditEvent.objects.create(id=new_id(), created_at=at, org=org, event="test.of_another_clock")
    record("test.happened", org=org, actor=alice)
    event = AuditEvent.objects.get(event="test.happened")
    at = event.created_at
    for start, end, names in [(0, 0, 1), (1, 2, 0), (-2, -1, 0), (-2, 2, 1)]:
        query = {
            "from": (at + timedelta(microseconds=start)).isoformat(),
            "to": (at + timedelta(microseconds=end)).isoformat(),
        }
        assert len(listed(api, url, **query)) == names
