"""A plan before Run, and the API of pausing, going on and cached cells."""

from __future__ import annotations

import time

import pytest

from evalsuite.quotas.models import OrgLimits
from experiments.models import Batch, ExperimentRun
from experiments.services import planning
from tests import factories
from tests.fakes.obedient_ollama import ObedientOllama


@pytest.fixture
def experiment(org):
    factories.set_default_model(org, factories.make_model(slots=4))
    return factories.make_experiment(org, inputs=6, variants=2)


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/experiments"


@pytest.fixture
def plan(api, url, experiment):
    def ask(**body):
        answer = api.post(f"{url}/{experiment.pk}/run/plan", body, format="json")
        assert answer.status_code == 200, answer.json()
        return answer.json()["plan"]

    return ask


def measured(experiment, **facts):
    """A finished batch whose answers took so long and so many tokens."""
    batch = planning.start_batch(experiment=experiment, author=None)
    batch.runs.update(state="succeeded", **facts)
    Batch.objects.filter(pk=batch.pk).update(state="finished")
    return batch


def test_nothing_measured_is_null_and_nothing_is_written(plan):
    assert plan() == {
        "cells": 12,
        "calls": 12,
        "cachedCells": 0,
        "loads": 1,
        "estimatedTokens": None,
        "estimatedMinutes": None,
        "quotaLeft": {"requestsPerMinute": None, "tokensPerDay": None, "tokensPerMonth": None},
    }
    assert not Batch.objects.exists()


def test_time_and_tokens_of_what_was_measured(plan, experiment):
    measured(experiment, latency_ms=2_000, input_tokens=30, output_tokens=20)
    answer = plan(repeats=2)
    assert answer["estimatedTokens"] == 24 * 50
    assert answer["estimatedMinutes"] == pytest.approx(24 / 4 * 2 / 60)  # four slots
    assert plan(parallel=2, repeats=2)["estimatedMinutes"] == pytest.approx(24 / 2 * 2 / 60)


def test_cold_starts_and_cached_answers_are_no_measure(plan, experiment):
    batch = measured(experiment, latency_ms=100, input_tokens=1, output_tokens=1)
    cells = list(batch.runs.all())
    cold, cached = cells[:2], cells[2:4]
    ExperimentRun.objects.filter(pk__in=[run.pk for run in cold]).update(cold_start=True, latency_ms=60_000)
    ExperimentRun.objects.filter(pk__in=[run.pk for run in cached]).update(
        cached_from=cells[5], cached_latency_ms=100, latency_ms=None
    )
    assert plan()["estimatedMinutes"] == pytest.approx(3 * 0.1 / 60)


def test_a_variant_is_judged_by_its_own_answers(plan, experiment):
    batch = measured(experiment, latency_ms=100, input_tokens=1, output_tokens=1)
    slow = experiment.variants.last()
    batch.runs.filter(variant=slow).update(latency_ms=1_000)
    only = plan(variantIds=[str(slow.pk)], parallel=1)
    assert only["estimatedMinutes"] == pytest.approx(6 * 1 / 60)


def test_cached_cells_cost_nothing(plan, experiment):
    experiment.variants.update(config={"temperature": 0})
    measured(experiment, latency_ms=100, input_tokens=1, output_tokens=1)
    answer = plan(useCache=True)
    assert (answer["cells"], answer["calls"], answer["cachedCells"], answer["loads"]) == (12, 0, 12, 0)
    assert (answer["estimatedTokens"], answer["estimatedMinutes"]) == (0, 0)


def test_the_quota_that_is_left(plan, org):
    OrgLimits.objects.create(org=org, tokens_per_day=500)
    assert plan()["quotaLeft"]["tokensPerDay"] == 500


def test_a_viewer_may_plan_and_not_run(api, url, org, experiment):
    api.force_authenticate(factories.make_user("vera", org=org, role="viewer"))
    assert api.post(f"{url}/{experiment.pk}/run/plan", {}, format="json").status_code == 200
    assert api.post(f"{url}/{experiment.pk}/run", {}, format="json").status_code == 403


def test_what_run_refuses_the_plan_refuses(api, url, experiment):
    address = f"{url}/{experiment.pk}/run/plan"
    assert api.post(address, {"repeats": 21}, format="json").status_code == 400
    planning.start_batch(experiment=experiment, author=None)
    assert api.post(address, {"fillGaps": True}, format="json").status_code == 409


@pytest.mark.django_db(transaction=True)
def test_the_estimate_is_within_a_quarter_of_what_it_takes(embedded_worker, org, alice, api, url):
    # Long answers: what other processes of a busy machine take from the second batch is little beside them.
    with ObedientOllama(delay_s=1) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=4))
        experiment = factories.make_experiment(org, inputs=4, variants=1)
        first = planning.start_batch(experiment=experiment, author=alice)
        assert planning.wait_until_finished(first, timeout_s=60)
        answer = api.post(f"{url}/{experiment.pk}/run/plan", {"repeats": 3}, format="json").json()["plan"]
        begin = time.monotonic()
        second = planning.start_batch(experiment=experiment, author=alice, repeats=3)
        assert planning.wait_until_finished(second, timeout_s=60)
        took = time.monotonic() - begin
    print(f"\nestimated {answer['estimatedMinutes'] * 60:.2f} s, took {took:.2f} s")
    assert answer["estimatedMinutes"] * 60 == pytest.approx(took, rel=0.25)


def test_pause_and_resume(api, url, experiment):
    batch = planning.start_batch(experiment=experiment, author=None, token_budget=100, at_most_once=True)
    address = f"{url}/batches/{batch.pk}"
    shown = api.post(f"{address}/pause").json()["batch"]
    assert (shown["state"], shown["pausedReason"], shown["pausedNote"]) == (
        "paused",
        "person",
        "alice paused it.",
    )
    assert (shown["atMostOnce"], shown["useCache"], shown["tokenBudget"], shown["tokens"]) == (
        True,
        False,
        100,
        0,
    )
    assert api.post(f"{address}/pause").status_code == 409
    shown = api.post(f"{address}/resume", {"tokenBudget": 200}, format="json").json()["batch"]
    assert (shown["state"], shown["pausedReason"], shown["resumeAt"]) == ("running", None, None)
    assert shown["tokenBudget"] == 200
    assert api.post(f"{address}/resume").status_code == 409


def test_a_used_up_budget_is_400_naming_the_field(api, url, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    Batch.objects.update(state="paused", paused_reason="budget", token_budget=10, tokens=12)
    answer = api.post(f"{url}/batches/{batch.pk}/resume", {"tokenBudget": 11}, format="json")
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["tokenBudget"])


def test_cached_cells_are_marked_and_in_no_latency(api, url, experiment):
    batch = measured(experiment, latency_ms=100)
    original, copy = batch.runs.all()[:2]
    ExperimentRun.objects.filter(pk=copy.pk).update(
        cached_from=original, latency_ms=None, cached_latency_ms=100
    )
    shown = api.get(f"{url}/runs/{copy.pk}").json()["run"]
    assert (shown["cached"], shown["cachedLatencyMs"], shown["latencyMs"]) == (True, 100, None)
    assert api.get(f"{url}/runs/{original.pk}").json()["run"]["cached"] is False
    results = api.get(f"{url}/{experiment.pk}/results").json()
    assert sum(row["latency"]["n"] for row in results["variants"]) == 11
