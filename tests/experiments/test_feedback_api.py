"""Feedback: thumbs and notes on one run."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from experiments.models import Thumb
from tests import factories
from tests.audit.events import forget_events
from tests.metrics.reading import read, total


@pytest.fixture
def run(org):
    return factories.make_run(factories.make_experiment(org, inputs=1, variants=1))


@pytest.fixture
def url(org, run):
    return f"/api/v1/orgs/{org.pk}/experiments/runs/{run.pk}/feedback"


def thumbs(run, direction):
    labels = {
        "orgId": str(run.experiment.org_id),
        "experimentId": str(run.experiment_id),
        "variantId": str(run.variant_id),
    }
    return total(read(), f"experiment_feedback_thumbs_{direction}_total", **labels)


@pytest.mark.parametrize("thumb", [True, False, None])
def test_sets_the_thumb_and_answers_exactly_ok(api, run, url, thumb):
    response = api.post(url, {"thumbsUp": thumb, "note": "so so"}, format="json")
    assert (response.status_code, response.json()) == (200, {"ok": True})
    run.refresh_from_db()
    assert (run.thumbs_up, run.feedback_note) == (thumb, "so so")


def test_null_clears_and_what_is_left_out_stays(api, run, url):
    api.post(url, {"thumbsUp": True, "note": "good"}, format="json")
    api.post(url, {"thumbsUp": None}, format="json")
    run.refresh_from_db()
    assert (run.thumbs_up, run.feedback_note) == (None, "good")
    api.post(url, {"note": None}, format="json")
    run.refresh_from_db()
    assert run.feedback_note is None


def test_the_change_is_noted_with_what_was_before(api, run, url):
    api.post(url, {"thumbsUp": True}, format="json")
    api.post(url, {"thumbsUp": False}, format="json")
    event = AuditEvent.objects.first()
    assert event.event == "experiment.feedback.updated"
    assert (event.before, event.after) == ({"thumbsUp": True}, {"thumbsUp": False})


@pytest.mark.parametrize("body", [{}, {"thumbsUp": True}])
def test_feedback_that_changes_nothing_writes_no_event(api, run, url, body):
    api.post(url, {"thumbsUp": True}, format="json")
    forget_events()
    assert api.post(url, body, format="json").status_code == 200
    assert not AuditEvent.objects.exists()


def test_counts_a_thumb_when_it_changes(api, run, url):
    for thumb in (True, True, False, None, True):
        api.post(url, {"thumbsUp": thumb}, format="json")
    assert (thumbs(run, "up"), thumbs(run, "down")) == (2, 1)


def rater(org, name):
    client = APIClient()
    client.force_authenticate(factories.make_user(name, org=org, role="rater"))
    return client


def thumb(client, url, value):
    assert client.post(url, {"thumbsUp": value}, format="json").status_code == 200


def told(client, org, run):
    """The run as its detail and as the list tell of it; they agree."""
    base = f"/api/v1/orgs/{org.pk}/experiments"
    detail = client.get(f"{base}/runs/{run.pk}").json()["run"]
    (row,) = client.get(f"{base}/{run.experiment_id}/runs").json()["runs"]
    (nested,) = client.get(f"{base}/{run.experiment_id}").json()["experiment"]["runs"]
    assert row["thumbs"] == nested["thumbs"] == detail["thumbs"]
    assert row["thumbsUp"] is nested["thumbsUp"] is detail["thumbsUp"]
    return detail


def test_each_persons_thumb_is_kept_apart_and_the_last_one_is_shown(api, org, run, url):
    bob = rater(org, "bob")
    thumb(api, url, True)
    thumb(bob, url, False)
    mine, bobs = told(api, org, run), told(bob, org, run)
    assert mine["thumbs"] == {"up": 1, "down": 1, "mine": True}
    assert bobs["thumbs"] == {"up": 1, "down": 1, "mine": False}
    assert mine["thumbsUp"] is bobs["thumbsUp"] is False
    given = mine["thumbsGiven"]
    assert [(one["rater"]["username"], one["up"]) for one in given] == [("bob", False), ("alice", True)]
    assert given[0]["createdAt"] > given[1]["createdAt"]


def test_a_person_without_a_thumb_sees_the_tally_alone(api, org, run, url):
    thumb(rater(org, "bob"), url, True)
    shown = told(api, org, run)
    assert (shown["thumbs"], shown["thumbsUp"]) == ({"up": 1, "down": 0, "mine": None}, True)


def test_clearing_removes_ones_own_thumb_and_shows_the_latest_that_remains(api, org, run, url):
    bob, carol = rater(org, "bob"), rater(org, "carol")
    thumb(carol, url, True)
    thumb(bob, url, False)
    thumb(carol, url, False)  # set again, so hers is later than Bob's
    thumb(carol, url, True)
    thumb(api, url, False)
    thumb(api, url, None)
    shown = told(api, org, run)
    assert (shown["thumbs"], shown["thumbsUp"]) == ({"up": 1, "down": 1, "mine": None}, True)
    thumb(carol, url, None)
    assert told(api, org, run)["thumbsUp"] is False
    thumb(api, url, None)  # there is none of hers: nobody else's is touched
    assert told(api, org, run)["thumbs"] == {"up": 0, "down": 1, "mine": None}
    thumb(bob, url, None)
    shown = told(api, org, run)
    assert (shown["thumbs"], shown["thumbsUp"], shown["thumbsGiven"]) == (
        {"up": 0, "down": 0, "mine": None},
        None,
        [],
    )


def test_the_event_tells_of_the_persons_own_thumb(api, org, run, url):
    thumb(rater(org, "bob"), url, True)
    thumb(api, url, False)
    thumb(api, url, None)
    before_and_after = [
        (event.actor_name, event.before["thumbsUp"], event.after["thumbsUp"])
        for event in AuditEvent.objects.order_by("id")
    ]
    assert before_and_after == [("bob", None, True), ("alice", None, False), ("alice", False, None)]


def test_the_same_thumb_again_becomes_the_last_one_and_is_not_counted_twice(api, org, run, url):
    thumb(api, url, True)
    thumb(rater(org, "bob"), url, False)
    thumb(api, url, True)
    assert told(api, org, run)["thumbsUp"] is True
    assert (thumbs(run, "up"), thumbs(run, "down")) == (1, 1)


def test_thumbs_cost_a_list_of_runs_no_query(api, org, run, url, django_assert_num_queries):
    listing = f"/api/v1/orgs/{org.pk}/experiments/{run.experiment_id}/runs"
    with CaptureQueriesContext(connections["default"]) as without:
        api.get(listing)
    before = len(without)  # now: later requests empty the log
    for name in ("bob", "carol", "dave"):
        thumb(rater(org, name), url, True)
    others = [factories.make_run(run.experiment) for _ in range(5)]
    for other in others:
        thumb(api, url.replace(str(run.pk), str(other.pk)), False)
    with django_assert_num_queries(before):
        rows = api.get(listing).json()["runs"]
    assert [row["thumbs"] for row in rows] == [{"up": 0, "down": 1, "mine": False}] * 5 + [
        {"up": 3, "down": 0, "mine": None}
    ]


@pytest.mark.xdist_group("many connections")
@pytest.mark.django_db(transaction=True)
def test_16_people_at_once_lose_no_thumb_and_the_run_shows_the_last(org, run, url):
    clients = [rater(org, f"rater{n}") for n in range(16)]

    def press(number):
        try:
            for value in (True, None, number % 2 == 0):
                thumb(clients[number], url, value)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(press, range(16)))
    run.refresh_from_db()
    given = Thumb.objects.filter(run=run)
    assert (given.filter(up=True).count(), given.filter(up=False).count()) == (8, 8)
    assert run.thumbs_up is given.first().up
    assert AuditEvent.objects.count() == 3 * 16


@pytest.mark.django_db(transaction=True)
def test_one_person_pressing_16_times_at_once_has_one_thumb(org, run, url):
    bob = factories.make_user("bob", org=org, role="rater")

    def press(number):
        client = APIClient()
        client.force_authenticate(bob)
        try:
            thumb(client, url, number % 2 == 0)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(press, range(16)))
    run.refresh_from_db()
    assert Thumb.objects.get(run=run).up is run.thumbs_up


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thumbsUp": "true"}, "thumbsUp"),
        ({"thumbsUp": 1}, "thumbsUp"),
        ({"note": 5}, "note"),
        ({"note": "n" * 10_001}, "note"),
        ({"note": "a\0"}, "note"),
        ({"thumbs_up": True}, "thumbs_up"),
    ],
)
def test_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])


def test_unknown_run_is_404(api, org):
    url = f"/api/v1/orgs/{org.pk}/experiments/runs/nonsense/feedback"
    assert api.post(url, {"thumbsUp": True}, format="json").json()["error"] == "RUN_NOT_FOUND"


class TestConsole:
    def press(self, client, org, run, way):
        response = client.post(f"/app/orgs/{org.pk}/experiments/runs/{run.pk}/rate", {"thumb": way})
        assert response.status_code == 200
        return re.findall(r'aria-pressed="(\w+)"\s+aria-label="([^"]+)"', response.content.decode())

    def test_pressing_sets_ones_own_thumb_and_pressing_it_again_clears_it(self, client, alice, org, run, url):
        thumb(rater(org, "bob"), url, True)
        client.force_login(alice)
        assert self.press(client, org, run, "up") == [
            ("true", "Thumbs up, 2 given"),
            ("false", "Thumbs down"),
        ]
        assert self.press(client, org, run, "down") == [
            ("false", "Thumbs up, 1 given"),
            ("true", "Thumbs down, 1 given"),
        ]
        assert self.press(client, org, run, "down") == [
            ("false", "Thumbs up, 1 given"),
            ("false", "Thumbs down"),
        ]
        assert Thumb.objects.get().rater.username == "bob"

    def test_the_pages_show_the_tally_and_mine(self, client, alice, org, run, url):
        thumb(rater(org, "bob"), url, True)
        client.force_login(alice)
        base = f"/app/orgs/{org.pk}/experiments"
        for page in (f"{base}/{run.experiment_id}", f"{base}/runs/{run.pk}"):
            shown = client.get(page).content.decode()
            assert 'aria-label="Thumbs up, 1 given"' in shown
            assert 'aria-pressed="true"' not in shown
