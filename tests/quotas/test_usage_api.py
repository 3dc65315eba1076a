from __future__ import annotations

from base64 import b64encode
from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from evalsuite.quotas import ledger
from evalsuite.quotas.models import ExperimentUsage, UsageRecord, UsageSum
from evalsuite.quotas.services import reserve, settle
from tests import factories
from tests.quotas.helpers import a_call, calls, limit, used

pytestmark = pytest.mark.django_db


@pytest.fixture
def get(api, org):
    def fetch(route="usage", **query):
        return api.get(f"/api/v1/orgs/{org.pk}/{route}", query)

    return fetch


@pytest.fixture
def today(db):
    return ledger.now().day


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, name="Tone")


@pytest.fixture
def history(org, alice, experiment, today):
    """Two calls today, one yesterday, one long ago, and another org's."""
    bob = factories.make_user("bob", org=org)
    for day, call, tokens in [
        (100, a_call(), (7, 7)),
        (1, a_call(user_id=alice.pk, experiment_id=experiment.pk), (40, None)),
        (0, a_call(user_id=bob.pk, model="big:70b"), (300, 20)),
        (0, a_call(user_id=alice.pk, experiment_id=experiment.pk), (10, 1)),
    ]:
        settle(org, [used(call, *tokens)])
        if day:  # it is the only one of today so far
            for model in (UsageRecord, UsageSum, ExperimentUsage):
                model.objects.filter(org=org, day=today).update(day=today - timedelta(days=day))
    settle(factories.make_org(), [used(a_call(), 999, 999)])


def rows(response):
    assert response.status_code == 200, response.json()
    return [
        (row["key"], row["name"], row["calls"], row["inputTokens"], row["outputTokens"])
        for row in response.json()["usage"]
    ]


def test_by_day_newest_first_over_the_last_30_days(get, history, today):
    response = get()
    yesterday = today - timedelta(days=1)
    assert [(row[0], *row[2:]) for row in rows(response)] == [
        (today.isoformat(), 2, 310, 21),
        (yesterday.isoformat(), 1, 40, 0),
    ]
    body = response.json()
    assert body["total"] == {"calls": 3, "inputTokens": 350, "outputTokens": 21}
    assert (body["groupBy"], body["last"]) == ("day", today.isoformat())
    assert body["first"] == (today - timedelta(days=29)).isoformat()


def test_by_model_the_greatest_use_first(get, history):
    assert rows(get(groupBy="model")) == [
        ("ollama/big:70b", "big:70b · ollama", 1, 300, 20),
        ("ollama/tiny:1b", "tiny:1b · ollama", 2, 50, 1),
    ]


def test_by_user_with_names(get, history, alice, today):
    names = [(row[1], row[2]) for row in rows(get(groupBy="user", to=today.isoformat()))]
    assert names == [("bob", 1), ("alice", 2)]
    whole_year = (today - timedelta(days=200)).isoformat()
    assert (None, "No user", 1, 7, 7) in rows(get(groupBy="user", **{"from": whole_year}))


def test_by_experiment_with_names_even_of_what_is_gone(get, history, experiment):
    key = str(experiment.pk)
    assert rows(get(groupBy="experiment")) == [
        (None, "No experiment", 1, 300, 20),
        (key, "Tone", 2, 50, 1),
    ]
    experiment.delete()
    assert rows(get(groupBy="experiment"))[1][:2] == (key, "A deleted experiment")


def test_days_are_included_at_both_ends(get, history, today):
    day = (today - timedelta(days=1)).isoformat()
    assert [row[0] for row in rows(get(**{"from": day, "to": day}))] == [day]


def test_reservations_are_no_usage(get, org):
    limit(org, requests_per_minute=5)
    reserve(org, calls(2))
    assert rows(get()) == []


def test_the_number_of_queries_does_not_grow_with_the_rows(get, org, today, django_assert_max_num_queries):
    for _ in range(12):
        name = factories.make_experiment(org).pk
        settle(org, [used(a_call(experiment_id=name, user_id=factories.make_user(org=org).pk))])
    for group in ("user", "experiment"):
        with django_assert_max_num_queries(6):
            assert len(rows(get(groupBy=group))) == 12


@pytest.mark.parametrize("group", ["model", "user", "experiment"])
def test_pages_follow_each_other_with_the_total_of_all(api, get, org, group):
    for n in range(5):  # two with equal use
        call = a_call(
            model=f"m{n}",
            user_id=factories.make_user(org=org).pk,
            experiment_id=factories.make_experiment(org).pk,
        )
        settle(org, [used(call, max(1, n), 0)])
    whole = rows(get(groupBy=group))
    pages, response = [], get(groupBy=group, limit=2)
    while True:
        assert response.json()["total"] == {"calls": 5, "inputTokens": 11, "outputTokens": 0}
        pages.append(rows(response))
        if not (following := response.json()["next"]):
            break
        response = api.get(following)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [row for page in pages for row in page] == whole
    assert [row[3] for row in whole] == [4, 3, 2, 1, 1]


def test_a_page_behind_the_last_one_is_empty(get, history):
    cursor = b64encode(b"o=99999999999999999999").decode()
    assert rows(get(groupBy="model", cursor=cursor)) == []
    assert get(cursor="nonsense").status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"groupBy": "colour"}, "groupBy"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"from": "2020-01-01", "to": "2026-01-01"}, "from"),
        ({"to": "20260101"}, "to"),
        ({"limit": "201"}, "limit"),
    ],
)
def test_a_bad_query_is_400_and_names_the_field(get, query, field):
    response = get(**query)
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")
    assert list(response.json()["details"]) == [field]


def test_the_first_days_of_time_are_no_error(get):
    assert rows(get(to="0001-01-05")) == []


@pytest.mark.parametrize("route", ["usage", "limits"])
@pytest.mark.parametrize("role", ["editor", "rater", "viewer"])
def test_it_is_for_admins(org, route, role):
    client = APIClient()
    client.force_authenticate(factories.make_user(org=org, role=role))
    response = client.get(f"/api/v1/orgs/{org.pk}/{route}")
    assert response.status_code == 403
    assert response.json()["details"]["permission"] == "org:usage:read"


def test_use_against_every_limit(get, org, alice):
    limit(org, requests_per_minute=50, tokens_per_day=1_000, playground_per_minute=9)
    first, second = calls(2, tokens=100)
    reserve(org, [first, second])
    settle(org, [used(first)])
    told = {one["name"]: one for one in get("limits").json()["limits"]}
    assert list(told) == [
        "requestsPerMinute",
        "tokensPerDay",
        "tokensPerMonth",
        "parallelCells",
        "cellsPerBatch",
        "playgroundPerMinute",
    ]
    assert (told["tokensPerDay"]["limit"], told["tokensPerDay"]["used"]) == (1_000, 112)
    assert (told["tokensPerMonth"]["limit"], told["tokensPerMonth"]["used"]) == (None, 112)
    assert told["requestsPerMinute"]["used"] in {0, 2}  # 0: the minute has turned
    assert told["parallelCells"] == {"name": "parallelCells", "limit": 256, "used": 0, "resetsAt": None}
    assert (told["cellsPerBatch"]["limit"], told["cellsPerBatch"]["used"]) == (10_000, None)
    assert (told["playgroundPerMinute"]["limit"], told["playgroundPerMinute"]["used"]) == (9, 0)
    ahead = parse_datetime(told["tokensPerDay"]["resetsAt"]) - timezone.now()
    assert timedelta(0) < ahead <= timedelta(days=1)


def test_cells_in_the_air_count(get, org):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    factories.make_run(experiment, state="running")
    other = factories.make_experiment(factories.make_org(), inputs=1, variants=1)
    factories.make_run(other, state="running")
    told = {one["name"]: one["used"] for one in get("limits").json()["limits"]}
    assert told["parallelCells"] == 1
