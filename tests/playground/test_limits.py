"""What the playground answers at a limit, and what its calls leave in the ledger."""

from __future__ import annotations

import pytest

from evalsuite.quotas.models import UsageCounter, UsageRecord
from llm_routing.errors import InvalidAnswer
from playground import services
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories
from tests.fakes.ollama import FakeOllama, refusal
from tests.quotas.helpers import assert_books_balance, limit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fake(org):
    with FakeOllama() as server:
        factories.set_default_model(org, factories.make_model(base_url=server.url))
        yield server


@pytest.fixture
def post(api, org, fake):
    def send(route="complete", **body):
        return api.post(
            f"/api/v1/orgs/{org.pk}/playground/{route}",
            {"prompt": "hi there", **body},
            format="json",
            headers={"Accept": "text/event-stream, application/json"},
        )

    return send


def test_an_answer_is_in_the_ledger_with_its_user(post, org, alice):
    assert post().status_code == 200
    row = UsageRecord.objects.get()
    assert (row.state, row.kind, row.user_id, row.experiment_id) == ("settled", "playground", alice.pk, None)
    assert (row.input_tokens, row.output_tokens, row.reserved_tokens) == (26, 8, None)
    assert PlaygroundMessage.objects.get(role="assistant").pk == row.attempt
    assert_books_balance(org)


@pytest.mark.parametrize("route", ["complete", "stream"])
def test_a_user_s_requests_per_minute(post, org, fake, route):
    limit(org, playground_per_minute=0)
    response = post(route)
    assert response.status_code == 429
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body["error"] == "RATE_LIMITED"
    assert body["details"].pop("message").startswith("The organisation's limit of 0 playground requests")
    wait = body["details"].pop("retryAfter")
    assert 1 <= wait <= 60
    assert response.headers["Retry-After"] == str(wait)
    assert body["details"] == {"name": "playgroundPerMinute", "limit": 0, "used": 0}
    assert fake.requests == []
    assert not PlaygroundSession.objects.exists()


def test_users_have_their_own_minutes(post, org, api):
    limit(org, playground_per_minute=1)
    first, second = post(), post()
    assert first.status_code == 200
    if second.status_code == 200:  # the minute turned in between
        second = post()
    assert (second.status_code, second.json()["details"]["used"]) == (429, 1)
    api.force_authenticate(factories.make_user(org=org))
    assert post().status_code == 200


@pytest.mark.parametrize("route", ["complete", "stream"])
def test_the_org_s_tokens_are_held_before_the_call(post, org, fake, route):
    limit(org, tokens_per_day=50)
    assert post("complete", maxTokens=20).status_code == 200  # 2 + 20 held, 34 used
    response = post(route, maxTokens=20)
    assert (response.status_code, response.json()["error"]) == (429, "QUOTA_EXCEEDED")
    details = response.json()["details"]
    assert (details["name"], details["limit"], details["used"]) == ("tokensPerDay", 50, 34)
    assert int(response.headers["Retry-After"]) == details["retryAfter"] > 0
    assert len(fake.requests) == 1
    assert_books_balance(org)


def test_a_refused_request_costs_the_user_nothing_of_the_minute(post, org):
    limit(org, tokens_per_month=0, playground_per_minute=1)
    assert [post().json()["details"]["name"] for _ in range(3)] == ["tokensPerMonth"] * 3


def test_a_call_that_failed_gives_back_what_it_held(post, org, fake):
    limit(org, tokens_per_day=10_000, requests_per_minute=100)
    fake.enqueue(refusal(500, "model runner has unexpectedly stopped"))
    assert post().status_code == 502
    assert not UsageRecord.objects.exists()
    counter = UsageCounter.objects.get()
    assert (counter.calls, counter.reserved_tokens, counter.day_reserved_tokens) == (0, 0, 0)


def test_an_answer_that_does_not_fit_its_format_has_used_its_tokens(org, alice, fake):
    limit(org, tokens_per_day=10_000)
    trial = services.open_session(org=org, user=alice, prompt="hi", explicit={"format": "json"})
    with pytest.raises(InvalidAnswer):
        services.complete(trial)
    row = UsageRecord.objects.get()
    assert (row.state, row.input_tokens, row.output_tokens) == ("settled", 26, 8)
    assert_books_balance(org)


def test_a_bug_of_ours_gives_back_what_the_call_held(org, alice, fake, monkeypatch):
    limit(org, tokens_per_day=10_000)
    trial = services.open_session(org=org, user=alice, prompt="hi", explicit={})

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("llm_routing.routing.stream", broken)
    with pytest.raises(ZeroDivisionError):
        services.complete(trial)
    assert not UsageRecord.objects.exists()
    assert_books_balance(org)
