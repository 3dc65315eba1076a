from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db.models import F

from evalsuite.quotas import ledger
from evalsuite.quotas.models import UsageCounter, UsageRecord
from evalsuite.quotas.services import limits_of, release, reserve, settle, take_playground
from evalsuite.quotas.values import Moment
from experiments.services.sweeping import sweep
from tests import factories
from tests.metrics.reading import read, total
from tests.quotas.helpers import a_call, assert_books_balance, calls, limit, used

pytestmark = pytest.mark.django_db


def counter(org):
    return UsageCounter.objects.get(org=org)


def test_without_limits_every_call_is_granted_and_nothing_is_written(org, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert reserve(org, calls(100)).count == 100
    limits = limits_of(org)
    with django_assert_num_queries(0):
        assert reserve(org, calls(100), limits=limits).count == 100
    assert not UsageRecord.objects.exists()


def test_what_was_not_reserved_is_written_when_it_is_settled(org):
    user, experiment = UUID(int=1), UUID(int=2)
    settle(org, [used(a_call(user_id=user, experiment_id=experiment)), used(a_call(), None, None)])
    first = UsageRecord.objects.get(user_id=user)
    assert (first.state, first.input_tokens, first.output_tokens) == ("settled", 7, 5)
    assert (first.experiment_id, first.reserved_tokens, first.model_name) == (experiment, None, "tiny:1b")
    assert (counter(org).calls, counter(org).tokens) == (2, 12)
    assert_books_balance(org)


def test_settling_twice_counts_once(org):
    call = a_call()
    settle(org, [used(call)])
    settle(org, [used(call, 100, 100), used(a_call())])
    assert (counter(org).calls, counter(org).tokens) == (2, 24)
    assert_books_balance(org)


@pytest.mark.parametrize(
    ("limits", "granted", "name", "was_used"),
    [
        ({"requests_per_minute": 5}, 5, "requestsPerMinute", 5),
        ({"tokens_per_day": 49}, 4, "tokensPerDay", 40),
        ({"tokens_per_month": 50, "tokens_per_day": 70}, 5, "tokensPerMonth", 50),
        ({"requests_per_minute": 0}, 0, "requestsPerMinute", 0),
        ({"requests_per_minute": 7, "tokens_per_day": 30}, 3, "tokensPerDay", 30),
    ],
)
def test_the_first_calls_that_fit_are_granted_and_the_limit_is_named(org, limits, granted, name, was_used):
    limit(org, **limits)
    offered = calls(8)
    answer = reserve(org, offered)
    assert answer.count == granted
    assert (answer.refusal.limit, answer.refusal.used) == (name, was_used)
    assert answer.refusal.value in limits.values()
    assert set(UsageRecord.objects.values_list("attempt", flat=True)) == {
        call.attempt for call in offered[:granted]
    }
    assert_books_balance(org)


def refusals(org, name):
    labels = {"orgId": str(org.pk), "limit": name}
    return total(read(), "quota_refusals_total", **labels)


def test_refusals_are_counted_by_limit(org):
    limit(org, requests_per_minute=0, playground_per_minute=0)
    reserve(org, calls(3))
    take_playground(org, UUID(int=1), limits=limits_of(org))
    assert (refusals(org, "requestsPerMinute"), refusals(org, "playgroundPerMinute")) == (1, 1)
    assert refusals(org, "tokensPerDay") == 0


def test_a_full_grant_costs_few_statements_however_many_calls(org, django_assert_max_num_queries):
    limit(org, requests_per_minute=1_000, tokens_per_day=100_000)
    limits = limits_of(org)
    reserve(org, calls(1))
    offered = calls(100)
    with django_assert_max_num_queries(2):
        assert reserve(org, offered, limits=limits).count == 100
    with django_assert_max_num_queries(4):  # ledger, counters, sums by user and by experiment
        settle(org, [used(call) for call in offered])
    assert_books_balance(org)


def test_an_attempt_offered_again_is_granted_again_and_counted_once(org):
    limit(org, tokens_per_month=30)
    first, second = calls(2), calls(3)
    assert reserve(org, first).count == 2
    assert reserve(org, first).count == 2
    answer = reserve(org, [*first, *second])
    assert (answer.count, answer.refusal.limit) == (3, "tokensPerMonth")
    settle(org, [used(first[0])])
    assert reserve(org, [first[0], second[0], first[1]]).count == 3
    assert UsageRecord.objects.count() == 3
    assert counter(org).reserved_calls == 2
    assert_books_balance(org)


def test_settling_moves_the_counters_by_the_difference(org):
    limit(org, tokens_per_day=100)
    first, second = calls(2, tokens=50)
    reserve(org, [first, second])
    assert counter(org).day_reserved_tokens == 100
    settle(org, [used(first, 3, 4)])
    assert (counter(org).day_tokens, counter(org).day_reserved_tokens) == (7, 50)
    assert reserve(org, calls(1, tokens=43)).count == 1
    assert reserve(org, calls(1, tokens=1)).count == 0
    assert_books_balance(org)


def test_where_only_reservations_are_in_the_way_one_may_come_back_soon(org):
    limit(org, tokens_per_day=100)
    held = a_call(tokens=90)
    reserve(org, [held])
    assert reserve(org, [a_call(tokens=20)]).refusal.retry_after <= 2
    settle(org, [used(held, 80, 10)])
    before = ledger.now()
    wait = reserve(org, [a_call(tokens=20)]).refusal.retry_after
    assert abs(wait - before.until(before.next_day)) <= 5


def test_the_minute_is_over_when_the_refusal_says(org):
    limit(org, requests_per_minute=1)
    reserve(org, calls(1))
    refusal = reserve(org, calls(1)).refusal
    if refusal is not None:  # the minute turned between the two calls
        assert 1 <= refusal.retry_after <= 60
    UsageCounter.objects.update(minute=F("minute") - 1)
    assert reserve(org, calls(2)).count == 1


def test_a_new_day_begins_with_nothing_used_and_the_month_goes_on(org):
    limit(org, tokens_per_day=100, tokens_per_month=150)
    yesterday = calls(1, tokens=100)
    reserve(org, yesterday)
    settle(org, [used(yesterday[0], 100, 0)])
    today = counter(org).day
    UsageRecord.objects.update(day=today - timedelta(days=1))
    UsageCounter.objects.update(day=today - timedelta(days=1))
    answer = reserve(org, calls(6))
    assert (answer.count, answer.refusal.limit) == (5, "tokensPerMonth")
    assert (counter(org).day, counter(org).day_tokens, counter(org).day_reserved_tokens) == (today, 0, 50)


def test_a_reservation_of_yesterday_settles_on_yesterday(org):
    limit(org, tokens_per_day=100)
    late, early = calls(2, tokens=30)
    reserve(org, [late, early])
    today = counter(org).day
    UsageRecord.objects.update(day=today - timedelta(days=1))
    UsageCounter.objects.update(
        day=today - timedelta(days=1), month=(today - timedelta(days=1)).replace(day=1)
    )
    reserve(org, calls(1, tokens=5))
    settle(org, [used(late, 20, 20)], released=[early.attempt])
    now = UsageCounter.objects.get(org=org, day=today)
    assert (now.day_tokens, now.day_reserved_tokens) == (0, 5)
    assert_books_balance(org)


def test_a_call_counted_after_midnight_by_others_belongs_to_their_day(org):
    """A transaction that began before midnight and waited counts towards the day that has begun.

    Not towards a month that has begun: that has a counter of its own, and this one's day is still its last.
    """
    limit(org, tokens_per_day=1_000)
    reserve(org, calls(1))
    today = counter(org).day
    tomorrow = today + timedelta(days=1)
    UsageRecord.objects.update(day=tomorrow)
    UsageCounter.objects.update(day=tomorrow, month=tomorrow.replace(day=1))
    late = a_call()
    assert reserve(org, [late]).count == 1
    day, held = (tomorrow, 20) if tomorrow.month == today.month else (today, 10)
    assert UsageRecord.objects.get(attempt=late.attempt).day == day
    assert UsageCounter.objects.get(org=org, month=day.replace(day=1)).day_reserved_tokens == held
    settle(org, [used(late)])
    assert_books_balance(org)


def test_released_calls_leave_no_trace_but_in_the_minute(org):
    limit(org, requests_per_minute=10, tokens_per_day=1_000)
    offered = calls(4)
    reserve(org, offered)
    settle(org, [used(offered[0])], released=[offered[1].attempt])
    for _ in range(2):
        release([call.attempt for call in offered[:3]])
    assert UsageRecord.objects.count() == 2
    assert (counter(org).calls, counter(org).reserved_calls, counter(org).minute_requests) == (1, 1, 4)
    assert_books_balance(org)


def test_an_estimate_above_the_whole_limit_waits_for_an_unused_day(org):
    limit(org, tokens_per_day=100)
    assert reserve(org, calls(2, tokens=5_000)).count == 1
    assert counter(org).day_reserved_tokens == 100


def test_what_a_provider_claims_to_have_used_is_bounded(org):
    settle(org, [used(a_call(), 10**12, -5)])
    assert UsageRecord.objects.get().input_tokens == 2**31 - 1
    assert UsageRecord.objects.get().output_tokens == 0
    assert_books_balance(org)


def test_stale_reservations_of_the_playground_are_dropped_and_no_others(org):
    limit(org, requests_per_minute=10)
    stale, fresh, cell = (
        a_call(kind=UsageRecord.Kind.PLAYGROUND),
        a_call(kind=UsageRecord.Kind.PLAYGROUND),
        a_call(),
    )
    reserve(org, [stale, fresh, cell])
    long_ago = UsageRecord.objects.first().created_at - timedelta(hours=2)
    UsageRecord.objects.filter(attempt__in=[stale.attempt, cell.attempt]).update(created_at=long_ago)
    sweep()
    assert set(UsageRecord.objects.values_list("attempt", flat=True)) == {fresh.attempt, cell.attempt}
    settle(org, [used(stale)])
    assert_books_balance(org)


def test_orgs_do_not_share_their_limits(org):
    other = factories.make_org()
    limit(org, requests_per_minute=2)
    limit(other, requests_per_minute=2)
    assert reserve(org, calls(3)).count == 2
    assert reserve(other, calls(3)).count == 2
    release(list(UsageRecord.objects.values_list("attempt", flat=True)))
    assert_books_balance(org)
    assert_books_balance(other)


def test_the_playground_limit_is_of_one_user_and_minute(org, monkeypatch):
    moment = ledger.now()
    monkeypatch.setattr(ledger, "now", lambda: moment)
    limits = limits_of(org)
    limit(org, playground_per_minute=2)
    alice, bob = UUID(int=1), UUID(int=2)
    refusals = [take_playground(org, alice, limits=limits_of(org)) for _ in range(3)]
    assert refusals[:2] == [None, None]
    assert (refusals[2].limit, refusals[2].value, refusals[2].used) == ("playgroundPerMinute", 2, 2)
    assert take_playground(org, bob, limits=limits_of(org)) is None
    monkeypatch.setattr(ledger, "now", lambda: Moment(moment.epoch + 60))
    assert take_playground(org, alice, limits=limits_of(org)) is None
    assert limits.playground_per_minute == 60


def test_what_the_admin_leaves_open_is_the_installations(org, settings):
    settings.LIMIT_TOKENS_PER_DAY, settings.LIMIT_PARALLEL_CELLS, settings.RUN_CELLS_MAX = 5, 9, 77
    limit(org, tokens_per_month=0, parallel_cells=3)
    limits = limits_of(org)
    assert (limits.tokens_per_day, limits.tokens_per_month, limits.parallel_cells) == (5, 0, 3)
    assert (limits.cells_per_batch, limits.requests_per_minute) == (77, None)
