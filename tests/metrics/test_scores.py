"""The average of a metric, as Prometheus draws it, is that of the scores that stand."""

from __future__ import annotations

import pytest
from django.utils import timezone

from evalsuite.metrics import hooks, slow
from evalsuite.metrics.models import Figure
from experiments.models import Batch, EvalScore
from experiments.services import authoring, feedback
from tests import factories
from tests.metrics.reading import read

pytestmark = pytest.mark.django_db


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=1, variants=2)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Computed at each look: how long a computation took is not what these tests are about."""
    monkeypatch.setattr(slow, "REST", -1_000)


def score(run, org, rater, value, key="correctness"):
    return feedback.give_score(run, org=org, rater=rater, metric_key=key, value=value, note=None)


def shown(experiment):
    """(number, mean) by variant's name and metric."""
    found = read()
    names = {str(pk): name for pk, name in experiment.variants.values_list("pk", "name")}
    means = {(row["variantId"], row["metricKey"]): v for row, v in found.get("experiment_score_average", ())}
    return {
        (names[row["variantId"]], row["metricKey"]): (number, means[row["variantId"], row["metricKey"]])
        for row, number in found.get("experiment_scores", ())
    }


def test_by_variant_and_metric_and_true_after_each_change(experiment, org, alice):
    first, second = experiment.variants.order_by("id")
    run = factories.make_run(experiment, variant=first)
    other = factories.make_run(experiment, variant=first)
    third = factories.make_run(experiment, variant=second)
    assert shown(experiment) == {}
    given = score(run, org, alice, 1.0)
    score(other, org, alice, 0.0)
    score(third, org, alice, -3.0, key="style")
    assert shown(experiment) == {
        ("variant 1", "correctness"): (2, 0.5),
        ("variant 2", "style"): (1, -3.0),
    }
    score(other, org, alice, 0.5)  # in place of the earlier one
    assert shown(experiment)["variant 1", "correctness"] == (2, 0.75)
    given.refresh_from_db()
    feedback.change_score(given, org=org, actor=alice, given={"value": 0.1})
    assert shown(experiment)["variant 1", "correctness"] == (2, pytest.approx(0.3))
    feedback.delete_score(given, org=org, actor=alice)
    assert shown(experiment)["variant 1", "correctness"] == (1, 0.5)
    Batch.objects.update(finished_at=timezone.now())
    authoring.delete_run(other, actor=alice)
    assert shown(experiment) == {("variant 2", "style"): (1, -3.0)}


def test_what_goes_unmarked_is_found_in_its_turn(experiment, org, alice, monkeypatch):
    score(factories.make_run(experiment), org, alice, 1.0)
    assert shown(experiment)
    EvalScore.objects.all().delete()
    assert shown(experiment)  # nobody has told
    monkeypatch.setattr(slow, "LONGEST_S", 0.0)
    assert shown(experiment) == {}


def test_what_takes_long_is_not_computed_at_each_look(experiment, org, alice, monkeypatch):
    score(factories.make_run(experiment), org, alice, 1.0)
    monkeypatch.setattr(slow, "REST", 1_000_000)
    assert shown(experiment)["variant 1", "correctness"] == (1, 1.0)
    score(factories.make_run(experiment), org, alice, 0.0)
    assert shown(experiment)["variant 1", "correctness"] == (1, 1.0)
    Figure.objects.update(due_at="2020-01-01T00:00:00Z")
    assert shown(experiment)["variant 1", "correctness"] == (2, 0.5)


def test_one_figure_that_breaks_takes_no_other_along(experiment, org, alice, monkeypatch, caplog):
    score(factories.make_run(experiment), org, alice, 1.0)
    assert shown(experiment)

    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setitem(hooks.slow(), "cells", hooks.Slow(lambda _: ["cells"], broken, always=True))
    assert shown(experiment)["variant 1", "correctness"] == (1, 1.0)
    assert "cells could not be computed" in caplog.text


def test_experiments_without_labels_have_no_average(experiment, org, alice, settings):
    score(factories.make_run(experiment), org, alice, 1.0)
    assert shown(experiment)
    settings.METRICS_EXPERIMENTS = 1
    factories.make_experiment(org)
    assert shown(experiment) == {}
    assert set(Figure.objects.values_list("subject", flat=True)) & {f"scores:{experiment.pk}"} == set()


def test_keys_of_metrics_are_bounded(experiment, org, alice, settings):
    settings.METRICS_VARIANTS = 3
    run = factories.make_run(experiment)
    for number in range(5):
        score(run, org, alice, 1.0, key=f"quality_{number}")
    assert [key for _, key in sorted(shown(experiment))] == ["quality_0", "quality_1", "quality_2"]
