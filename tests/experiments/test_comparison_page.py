"""The page that compares two variants or two batches."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from experiments.models import ExperimentRun
from tests import factories
from tests.experiments.results import cell, make_batch, make_experiment, score

pytestmark = pytest.mark.django_db


@pytest.fixture
def experiment(org):
    return make_experiment(org, inputs=30)


@pytest.fixture
def batch(experiment, org, alice):
    """The second variant is right on all inputs but the first three, the first one on none but these."""
    batch = make_batch(experiment)
    metric = factories.make_metric(org)
    for n in range(1, 31):
        first = cell(batch, 1, f"case_{n}")
        second = cell(batch, 2, f"case_{n}")
        score(first, metric, 1.0 if n <= 3 else 0.0, rater=alice)
        score(second, metric, 0.0 if n <= 3 else 1.0, rater=alice)
    return batch


@pytest.fixture
def show(client, alice, org, experiment):
    client.force_login(alice)

    def get(query="", status=200):
        response = client.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}/comparison{query}")
        assert response.status_code == status
        return response.content.decode()

    return get


def test_the_verdict_comes_first_with_its_evidence(show, batch):
    text = show("?metric=correctness")
    assert 'data-call="better"' in text
    assert "27 / 3 / 0" in text
    assert "p-value" in text
    assert "Paired on 30 inputs" in text
    assert "by Holm" in text


def test_what_got_worse_and_what_got_better_by_input(show, batch):
    worse = show("?metric=correctness")
    assert worse.count('<h3 class="key">') == 3
    assert "variant " in worse
    better = show("?metric=correctness&show=better&page=3")
    assert better.count('<h3 class="key">') == 7
    assert "Page 3 of 3" in better
    assert show("?metric=correctness&margin=2&show=same").count('<h3 class="key">') == 10


def test_batch_against_batch_on_the_inputs_that_they_share(show, experiment, batch, org, alice):
    later = make_batch(experiment)
    metric = experiment.org.metrics.get()
    for n in range(1, 26):
        score(cell(later, 1, f"case_{n}"), metric, 1.0, rater=alice)
    variant = cell(later, 1, "case_1").variant_id
    text = show(
        f"?baseline={variant}&candidate={variant}&baselineBatch={batch.pk}&candidateBatch={later.pk}"
        "&metric=correctness"
    )
    assert 'data-call="better"' in text
    assert "Paired on 25 inputs" in text
    assert "5 more have one in the baseline alone." in text


def test_a_batch_of_one_variant_is_compared_with_the_baseline(client, alice, org):
    alone = make_experiment(org, variants=1)
    first, second, third = (make_batch(alone) for _ in range(3))
    alone.baseline = first
    alone.save()
    client.force_login(alice)
    text = client.get(f"/app/orgs/{org.pk}/experiments/{alone.pk}/comparison").content.decode()
    assert f'<option value="{first.pk}" selected>' in text
    assert f'<option value="{third.pk}" selected>' in text
    assert f'<option value="{second.pk}" selected>' not in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?margin=-1", "margin:"),
        ("?margin=nan", "margin:"),
        ("?margin=much", "margin:"),
        ("?metric=unheard_of", "metric:"),
        ("?baseline=nonsense", "baseline:"),
        ("?candidate=0190a0a0-0000-7000-8000-000000000000", "candidate:"),
        ("?batch=0190a0a0-0000-7000-8000-000000000000", "batch:"),
        ("?show=nothing", "show:"),
        ("?page=x", ""),
        ("?baselineBatch=%00", "baselineBatch:"),
    ],
)
def test_bad_values_are_named_and_left_out(show, batch, query, said):
    text = show(query)
    assert said in text
    assert 'class="verdict"' in text


def test_a_side_against_itself_is_refused_in_words(show, batch):
    variant = batch.runs.first().variant_id
    text = show(f"?baseline={variant}&candidate={variant}&baselineBatch={batch.pk}&candidateBatch={batch.pk}")
    assert "nothing to compare" in text


def test_a_variant_or_batch_of_another_org_is_as_good_as_none(show, batch):
    elsewhere = make_batch(make_experiment(factories.make_org()))
    text = show(f"?baseline={elsewhere.runs.first().variant_id}&batch={elsewhere.pk}")
    assert f'value="{elsewhere.pk}"' not in text
    assert "baseline:" in text
    assert "batch:" in text


def test_without_a_batch_there_is_nothing_to_compare(show):
    assert "run a batch first" in show()


def test_queries_do_not_grow_with_inputs(client, alice, org):
    client.force_login(alice)

    def queries(inputs):
        batch = make_batch(make_experiment(org, inputs=inputs))
        metric, _ = org.metrics.get_or_create(key="quality", name="quality")
        for run in batch.runs.all():
            score(run, metric, run.position % 3, rater=alice)
        url = f"/app/orgs/{org.pk}/experiments/{batch.experiment_id}/comparison?metric=quality&show=better"
        with CaptureQueriesContext(connection) as captured:
            client.get(url)
        return len(captured)

    assert queries(5) == queries(25)


def test_what_was_written_is_text(show, batch):
    bad = "<img src=x onerror=alert(1)>"
    ExperimentRun.objects.update(output=bad)
    batch.experiment.variants.update(name=bad)
    batch.experiment.inputs.update(content=bad)
    assert "<img src=x" not in show()
