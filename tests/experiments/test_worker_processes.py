"""The engine with Redis and Celery workers in processes of their own."""

from __future__ import annotations

from collections import Counter

import pytest

from evalsuite.quotas.models import UsageRecord
from experiments.models import EvalScore, Evaluator, RunAttempt
from experiments.services import planning
from tests import factories
from tests.experiments.conftest import wait_for, worker_process
from tests.fakes.judging_ollama import JudgingOllama
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


def states(batch):
    return Counter(batch.runs.values_list("state", flat=True))


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_process_runs_a_batch(redis_broker, experiment, pool):
    with worker_process(redis_broker, pool=pool):
        batch = planning.start_batch(experiment=experiment, author=None)
        assert planning.wait_until_finished(batch, timeout_s=60)
    assert states(batch) == {"succeeded": 20}
    assert UsageRecord.objects.count() == 20


def test_slots_hold_across_two_worker_processes(redis_broker, org):
    with ObedientOllama(delay_s=0.03) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=3))
        experiment = factories.make_experiment(org, inputs=20, variants=2)
        with worker_process(redis_broker), worker_process(redis_broker):
            batches = [
                planning.start_batch(experiment=experiment, author=None, parallel=32) for _ in range(2)
            ]
            for batch in batches:
                assert planning.wait_until_finished(batch, timeout_s=60)
        assert ollama.peak <= 3
        assert sum(ollama.calls.values()) == 80


def test_killing_a_worker_loses_nothing_and_records_nothing_twice(redis_broker, org):
    with ObedientOllama(delay_s=0.25) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=8))
        experiment = factories.make_experiment(org, inputs=30, variants=2)
        with worker_process(redis_broker) as first:
            batch = planning.start_batch(experiment=experiment, author=None)
            running = batch.runs.filter(state="running")
            wait_for(lambda: batch.runs.filter(state="succeeded").count() > 5 and running.count() > 3)
            first.kill()
            first.wait()
            with worker_process(redis_broker):
                assert planning.wait_until_finished(batch, timeout_s=60)
        assert states(batch) == {"succeeded": 60}
        attempts = RunAttempt.objects.filter(run__batch=batch)
        assert attempts.filter(outcome="succeeded").values("run").distinct().count() == 60
        assert attempts.filter(outcome="succeeded").count() == UsageRecord.objects.count() == 60
        assert attempts.filter(outcome="lost").count() >= 1
        assert sum(ollama.calls.values()) <= attempts.count()


def test_killing_a_worker_that_judges_loses_nothing_and_scores_nothing_twice(redis_broker, org):
    with JudgingOllama(delay_s=0.4) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.url, slots=4))
        experiment = factories.make_experiment(org, inputs=24, variants=1)
        judge = Evaluator.objects.create(
            experiment=experiment,
            metric=factories.make_metric(org),
            kind="judge",
            name="judge",
            config={"rubric": "Is it right?", "scale": {"minimum": 0, "maximum": 1}},
        )
        evaluations = judge.evaluations
        with worker_process(redis_broker) as first:
            batch = planning.start_batch(experiment=experiment, author=None)
            wait_for(
                lambda: (
                    evaluations.filter(state="done").count() > 3
                    and evaluations.filter(state="running").count() > 1
                )
            )
            first.kill()
            first.wait()
            with worker_process(redis_broker):
                wait_for(lambda: evaluations.count() == 24 and not evaluations.open().exists(), timeout_s=60)
        assert planning.wait_until_finished(batch, timeout_s=60)
        assert Counter(evaluations.values_list("state", flat=True)) == {"done": 24}
        assert EvalScore.objects.filter(evaluator=judge).values("run").distinct().count() == 24
        assert EvalScore.objects.count() == UsageRecord.objects.filter(kind="judge").count() == 24
        assert evaluations.filter(crashes__gt=0).count() >= 1
        assert not evaluations.filter(attempt__gt=2).exists()
