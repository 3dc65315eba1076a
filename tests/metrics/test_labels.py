"""Labels of experiments and variants are bounded, and no figure is lost by that."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from evalsuite.metrics import families, folding, hooks, page
from evalsuite.metrics.changes import Changes
from evalsuite.metrics.models import Change, Total
from experiments.models import Experiment, ExperimentVariant
from tests import factories
from tests.metrics.reading import read, total

pytestmark = pytest.mark.django_db
RUNS = "experiment_runs_total"


@pytest.fixture
def thousand(org):
    """A thousand experiments with a variant each, and as many runs as their number; oldest first."""
    experiments = Experiment.objects.bulk_create(
        Experiment(org=org, name=f"Number {n}") for n in range(1, 1_001)
    )
    variants = ExperimentVariant.objects.bulk_create(
        ExperimentVariant(experiment=experiment, name="only") for experiment in experiments
    )
    for number, variant in enumerate(variants, 1):
        run(org, variant, times=number)
    return experiments


def run(org, variant, times=1):
    changes = Changes()
    labels = (org.pk, variant.experiment_id, variant.pk)
    changes.count(families.EXPERIMENT_RUNS, *labels, by=times)
    changes.observe(families.EXPERIMENT_LATENCY, 100.0, *labels)
    changes.save()


def by_experiment(found, name=RUNS):
    return {labels["experimentId"]: value for labels, value in found[name]}


def test_the_newest_keep_their_labels_and_the_others_are_one(org, thousand, settings):
    settings.METRICS_EXPERIMENTS = 50
    found = read()
    shown = by_experiment(found)
    assert len(found[RUNS]) == 51
    assert shown == {
        **{str(experiment.pk): 951 + n for n, experiment in enumerate(thousand[950:])},
        "other": sum(range(1, 951)),
    }
    assert len(found["experiment_latency_ms_count"]) == 51
    assert total(found, "experiment_latency_ms_count", experimentId="other") == 950
    assert Total.objects.count() == 2 * 51  # the table is bounded as well
    assert not Change.objects.exists()


def test_a_newer_experiment_moves_the_oldest_label_into_other(org, thousand, settings):
    settings.METRICS_EXPERIMENTS = 50
    before = read()
    factories.make_experiment(org, variants=1)
    after = read()
    oldest = str(thousand[950].pk)
    assert oldest in by_experiment(before)
    assert oldest not in by_experiment(after)
    assert by_experiment(after)["other"] == by_experiment(before)["other"] + 951
    assert total(after, RUNS) == total(before, RUNS) == sum(range(1, 1_001))
    run(org, thousand[950].variants.get(), times=5)
    assert by_experiment(read())["other"] == by_experiment(after)["other"] + 5


def test_no_counter_ever_falls(org, thousand, settings):
    """Whatever happens to experiments and settings, a series grows or ends; what ended is in `other`."""
    seen: Counter[tuple[str, ...]] = Counter()
    steps = [
        lambda: setattr(settings, "METRICS_EXPERIMENTS", 5),
        lambda: setattr(settings, "METRICS_EXPERIMENTS", 30),
        lambda: Experiment.objects.filter(pk__in=[each.pk for each in thousand[980:]]).delete(),
        lambda: run(org, thousand[975].variants.get()),
        lambda: factories.make_experiment(org, variants=1),
    ]
    settings.METRICS_EXPERIMENTS = 20
    read()
    sums = []
    for step in steps:
        step()
        found = read()
        for labels, value in found[RUNS]:
            key = tuple(labels.values())
            assert value >= seen[key] or "other" not in key, (key, value, seen[key])
            seen[key] = value
        sums.append(total(found, RUNS))
    assert sums == sorted(sums)


def test_variants_of_one_experiment_are_bounded(org, settings):
    settings.METRICS_VARIANTS = 3
    experiment = factories.make_experiment(org, variants=5)
    for variant in experiment.variants.order_by("id"):
        run(org, variant)
    found = read()[RUNS]
    assert len(found) == 4
    assert sum(value for labels, value in found if labels["variantId"] == "other") == 2
    assert {labels["experimentId"] for labels, _ in found} == {str(experiment.pk)}
    factories.make_experiment(org)
    settings.METRICS_EXPERIMENTS = 1
    found = read()[RUNS]
    assert [(labels["experimentId"], labels["variantId"], value) for labels, value in found] == [
        ("other", "other", 5)
    ]


def test_a_variant_is_there_before_its_first_run(org):
    variant = factories.make_experiment(org, variants=1).variants.get()
    found = read()
    for name in (RUNS, "experiment_feedback_thumbs_up_total", "experiment_latency_ms_count"):
        [(labels, value)] = found[name]
        assert (labels["variantId"], value) == (str(variant.pk), 0)


def test_a_thousand_labels_cost_as_many_queries_as_one(org, thousand, settings, monkeypatch):
    settings.METRICS_EXPERIMENTS = 1_000
    # Averages are computed within a budget for each look: no part of what is asked here.
    monkeypatch.setitem(hooks.slow(), "scores", hooks.Slow(lambda _: [], lambda _: []))
    page.text()
    with CaptureQueriesContext(connection) as many:
        begun = time.perf_counter()
        text = page.text().decode()
        took_s = time.perf_counter() - begun
    assert text.count(f"\n{RUNS}{{") == 1_000
    settings.METRICS_EXPERIMENTS = 1
    page.text()
    with CaptureQueriesContext(connection) as one:
        page.text()
    assert len(many) <= len(one) + 2, [query["sql"] for query in many]
    assert took_s < 5


def test_a_fold_of_nothing_writes_nothing(org, thousand):
    folding.fold()
    with CaptureQueriesContext(connection) as queries:
        folding.fold()
    assert all(query["sql"].startswith("SELECT") for query in queries), [q["sql"] for q in queries]
