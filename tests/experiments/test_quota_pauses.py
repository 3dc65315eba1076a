"""A batch that meets a limit of its org: it pauses with the reason, and goes on when there is room."""

from __future__ import annotations

from collections import Counter

import pytest
from django.urls import reverse

from evalsuite.quotas.models import OrgLimits, UsageCounter, UsageRecord
from experiments.models import Batch, ExperimentVariant, RunAttempt
from experiments.services import planning
from tests import factories
from tests.experiments.conftest import wait_for
from tests.quotas.helpers import assert_books_balance, limit

pytestmark = pytest.mark.django_db(transaction=True)
TOKENS = 12  # of each cell: estimated with its `maxTokens`, and used


@pytest.fixture
def small(experiment):
    """Twenty cells whose estimate is what they will use."""
    experiment.inputs.update(content="12345678")
    ExperimentVariant.objects.filter(experiment=experiment).update(config={"maxTokens": 10})
    return experiment


def states(batch):
    return Counter(batch.runs.values_list("state", flat=True))


def stands_still(batch):
    batch.refresh_from_db()
    return batch.state == Batch.State.PAUSED and not batch.runs.filter(state="running").exists()


def test_it_pauses_exactly_at_the_limit_and_goes_on_when_the_operator_raises_it(
    embedded_worker, small, org, ollama, client
):
    limit(org, tokens_per_month=8 * TOKENS + 5)
    batch = planning.start_batch(experiment=small, author=None)
    wait_for(lambda: states(batch)["succeeded"] == 8 and stands_still(batch))
    assert states(batch) == {"succeeded": 8, "queued": 12}
    assert (batch.paused_reason, sum(ollama.calls.values())) == ("quota", 8)
    assert f"limit of {8 * TOKENS + 5} tokens per month" in batch.paused_note
    assert UsageCounter.objects.get().tokens == 8 * TOKENS

    client.force_login(factories.make_user(is_staff=True, is_superuser=True))
    page = reverse("admin:quotas_orglimits_change", args=[OrgLimits.objects.get().pk])
    assert client.post(page, {"tokens_per_month": "100000"}).status_code == 302
    assert planning.wait_until_finished(batch, timeout_s=60)
    assert states(batch) == {"succeeded": 20}
    assert sum(ollama.calls.values()) == 20
    attempts = set(RunAttempt.objects.values_list("pk", flat=True))
    assert set(UsageRecord.objects.values_list("attempt", flat=True)) == attempts
    assert_books_balance(org)


def test_it_goes_on_by_itself_in_the_next_minute(embedded_worker, small, org, ollama):
    limit(org, requests_per_minute=15)
    batch = planning.start_batch(experiment=small, author=None)
    wait_for(lambda: stands_still(batch) or states(batch)["succeeded"] == 20)
    # The minute may have turned under the batch, which then had two of them.
    if not batch.finished_at and states(batch)["queued"]:
        # What was granted and put back when the batch paused has used its place in the minute, uncalled.
        assert UsageCounter.objects.get().minute_requests == 15
        assert states(batch)["succeeded"] == sum(ollama.calls.values())
        UsageCounter.objects.update(minute=0)  # the minute is over
        Batch.objects.filter(pk=batch.pk).update(resume_at=batch.created_at)
    assert planning.wait_until_finished(batch, timeout_s=60)
    assert states(batch) == {"succeeded": 20}
    assert_books_balance(org)
