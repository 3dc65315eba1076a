"""Metrics that mean the same become one: nothing is lost, and what gives way is told."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from django.db import connection, transaction
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import Conflict
from evalsuite.metrics.models import Change
from experiments.models import EvalMetricDefinition, EvalScore, Evaluation, Evaluator
from experiments.services.feedback import give_score
from experiments.services.merging import merge_metrics
from tests import factories


@pytest.fixture
def experiment(org, alice):
    return factories.make_experiment(org, inputs=2, variants=1, user=alice)


@pytest.fixture
def runs(experiment):
    first, second = experiment.inputs.order_by("id")
    done = timezone.now()
    made = [factories.make_run(experiment, input=one) for one in (first, second)]
    for run in made:
        type(run.batch).objects.filter(pk=run.batch_id).update(finished_at=done)
    return made


@pytest.fixture
def metrics(org):
    return [factories.make_metric(org, key) for key in ("quality", "qualtiy", "goodness")]


def score(run, metric, value, *, hours_ago=0, **by):
    when = timezone.now() - timedelta(hours=hours_ago)
    return EvalScore.objects.create(run=run, metric=metric, value=value, created_at=when, **by)


def test_the_newest_of_one_person_stands_and_the_others_are_told(runs, metrics, alice, org):
    survivor, twin, third = metrics
    bob = factories.make_user("bob", org=org)
    score(runs[0], survivor, 1, hours_ago=2, rater=alice, note="first")
    newest = score(runs[0], twin, 4, rater=alice)
    score(runs[0], third, 2, hours_ago=1, rater=alice)
    by_bob = score(runs[0], twin, 3, rater=bob)
    lone = score(runs[1], third, 5, rater=alice)
    nameless = score(runs[0], twin, 9)  # of an account that is gone
    counts = merge_metrics(survivor, [twin, third], actor=alice)
    assert counts == {"scores": 4, "superseded": 2, "evaluators": 0}
    assert set(EvalScore.objects.values_list("pk", "metric")) == {
        (row.pk, survivor.pk) for row in (newest, by_bob, lone, nameless)
    }
    assert list(EvalMetricDefinition.objects.for_org(org)) == [survivor]
    gone = AuditEvent.objects.filter(event="experiment.score.deleted").order_by("id")
    assert [(one.before["value"], one.before["metricKey"], one.before["note"]) for one in gone] == [
        (1, "quality", "first"), (2, "goodness", None),
    ]  # fmt: skip
    merged = AuditEvent.objects.get(event="experiment.metric.merged")
    assert (merged.object_id, merged.after["from"]) == (str(survivor.pk), ["qualtiy", "goodness"])
    assert AuditEvent.objects.filter(event="experiment.metric.deleted").count() == 2


def test_evaluators_follow_and_so_do_their_scores(experiment, runs, metrics, alice):
    survivor, twin, _ = metrics
    evaluator = Evaluator.objects.create(experiment=experiment, metric=twin, kind="exact_match", name="E")
    kept = score(runs[0], twin, 1, evaluator=evaluator)
    Change.objects.all().delete()
    merge_metrics(survivor, [twin], actor=alice)
    evaluator.refresh_from_db()
    kept.refresh_from_db()
    assert (evaluator.metric, kept.metric) == (survivor, survivor)
    assert AuditEvent.objects.get(event="experiment.evaluator.updated").after == {
        "metricId": str(survivor.pk)
    }
    assert Change.objects.exists()  # what Prometheus is told of these scores is counted anew


def other_direction(metrics, **_):
    metrics[1].direction = "lower"
    metrics[1].save()


def off_the_scale(metrics, runs, alice, **_):
    EvalMetricDefinition.objects.filter(pk=metrics[0].pk).update(minimum=1, maximum=5)
    score(runs[0], metrics[1], 0.5, rater=alice)


def between_the_steps(metrics, runs, alice, **_):
    EvalMetricDefinition.objects.filter(pk=metrics[0].pk).update(minimum=1, maximum=5, step=1)
    for value, run in zip((1, 2.5), runs, strict=True):
        score(run, metrics[1], value, rater=alice)


def of_another_org(metrics, charlie, **_):
    metrics[1] = factories.make_metric(charlie.memberships.get().org, "quality")


def batch_under_way(metrics, experiment, **_):
    Evaluator.objects.create(experiment=experiment, metric=metrics[1], kind="exact_match", name="E")
    factories.make_run(experiment, state="queued")


def evaluation_under_way(metrics, experiment, runs, **_):
    row = Evaluator.objects.create(experiment=experiment, metric=metrics[1], kind="judge", name="E")
    Evaluation.objects.create(run=runs[0], batch=runs[0].batch, evaluator=row)


def gone_meanwhile(metrics, **_):
    EvalMetricDefinition.objects.filter(pk=metrics[1].pk).delete()


REASONS = [
    other_direction, off_the_scale, between_the_steps, of_another_org, batch_under_way, evaluation_under_way,
    gone_meanwhile,
]  # fmt: skip


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.__name__)
def test_what_cannot_be_merged_is_left_as_it_is(experiment, runs, metrics, alice, charlie, reason):
    reason(metrics=metrics, experiment=experiment, runs=runs, alice=alice, charlie=charlie)
    metrics[0].refresh_from_db()
    before = list(EvalScore.objects.values_list("pk", "metric")), EvalMetricDefinition.objects.count()
    with pytest.raises(Conflict):
        merge_metrics(metrics[0], metrics[1:2], actor=alice)
    assert (
        list(EvalScore.objects.values_list("pk", "metric")),
        EvalMetricDefinition.objects.count(),
    ) == before
    assert not AuditEvent.objects.exists()


def test_one_metric_alone_is_nothing_to_merge(metrics, alice):
    with pytest.raises(Conflict):
        merge_metrics(metrics[0], metrics[:1], actor=alice)


@pytest.mark.django_db(transaction=True)
def test_a_score_that_comes_while_metrics_are_merged_is_kept(runs, metrics, alice, org):
    """The metric goes under its hands: it is one that does not exist yet then."""
    survivor, twin, _ = metrics
    score(runs[1], twin, 5, rater=alice)
    begun = Event()

    def merge():
        with transaction.atomic():
            merge_metrics(survivor, [twin], actor=alice)
            begun.set()
            time.sleep(0.3)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        merged = pool.submit(merge)
        begun.wait()
        given = give_score(runs[0], org=org, rater=alice, metric_key=twin.key, value=3, note=None)
        merged.result()
    assert {(one.run_id, one.metric.key) for one in EvalScore.objects.select_related("metric")} == {
        (runs[0].pk, twin.key),
        (runs[1].pk, survivor.key),
    }
    assert given.metric_id != twin.pk


@pytest.mark.django_db(transaction=True)
def test_a_merge_waits_for_a_score_that_is_under_way(runs, metrics, alice, org):
    survivor, twin, _ = metrics

    def merge():
        merge_metrics(survivor, [twin], actor=alice)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            give_score(runs[0], org=org, rater=alice, metric_key=twin.key, value=3, note=None)
            merged = pool.submit(merge)
            time.sleep(0.3)
        merged.result()
    assert EvalScore.objects.get().metric == survivor
