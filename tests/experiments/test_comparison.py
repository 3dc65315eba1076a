"""Two sides paired by input: what counts, which way is better, and what is refused."""

from __future__ import annotations

import pytest

from evalsuite.errors import InvalidBody, NotFound
from experiments.models import EvalScore
from experiments.services import wording
from experiments.services.comparison import Call, Side, compare_metrics, overview
from experiments.services.figures import Measure
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=12, variants=2)


@pytest.fixture
def metric(org):
    return factories.make_metric(org)


def score(experiment, variant, metric, values):
    """A cell for each input, with its score; None leaves it without one."""
    for row, value in zip(experiment.inputs.order_by("id"), values, strict=False):
        run = factories.make_run(experiment, variant=variant, input=row)
        if value is not None:
            EvalScore.objects.create(run=run, metric=metric, value=value)


def compare(experiment, *, metric_key, **wishes):
    (found,) = compare_metrics(experiment, metric_keys=[metric_key], **wishes)
    return found


@pytest.fixture
def sides(experiment):
    first, second = experiment.variants.order_by("id")
    return {"baseline": Side(first), "candidate": Side(second)}


def test_a_clear_difference_is_called_better(experiment, sides, metric):
    score(experiment, sides["baseline"].variant, metric, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2])
    score(experiment, sides["candidate"].variant, metric, [4, 4, 4, 5, 4, 5, 4, 4, 4, 5, 4, 5])
    found = compare(experiment, **sides, metric_key="correctness")
    assert (found.call, found.pairs, found.wins, found.losses) == (Call.BETTER, 12, 12, 0)
    assert found.low > 0
    metric.direction = "lower"
    metric.save()
    found = compare(experiment, **sides, metric_key="correctness")
    assert (found.call, found.wins, found.losses) == (Call.WORSE, 0, 12)


def test_inputs_on_one_side_only_are_counted_and_left_out(experiment, sides, metric):
    score(experiment, sides["baseline"].variant, metric, [1, 2, 3, None, 5])
    score(experiment, sides["candidate"].variant, metric, [1, 3, None])
    found = compare(experiment, **sides, metric_key="correctness")
    assert (found.pairs, found.only_baseline, found.only_candidate) == (2, 2, 0)
    shown = overview(experiment, **sides, measure=Measure.of(metric)).pairs
    first, second = experiment.inputs.order_by("id")[:2]
    assert [(one.input_id, one.difference) for one in shown] == [(first.pk, 0.0), (second.pk, 1.0)]


def test_holm_over_all_that_is_compared(experiment, sides, metric):
    score(experiment, sides["baseline"].variant, metric, [1] * 12)
    score(experiment, sides["candidate"].variant, metric, [1, 2, 1, 2, 2, 2, 2, 2, 1, 2, 1, 2])
    found = {one.metric_key: one for one in compare_metrics(experiment, **sides)}
    assert set(found) == {"correctness", "latency"}
    assert found["correctness"].comparisons == 2
    assert found["correctness"].adjusted_p == pytest.approx(2 * found["correctness"].p_value)


def test_what_is_refused(experiment, sides):
    with pytest.raises(NotFound, match="no metric charm"):
        compare(experiment, **sides, metric_key="charm")
    with pytest.raises(InvalidBody, match="margin"):
        compare(experiment, **sides, metric_key="latency", margin=-1)
    with pytest.raises(InvalidBody, match="margin"):
        compare(experiment, **sides, metric_key="latency", margin=float("nan"))
    with pytest.raises(InvalidBody, match="baseline itself"):
        compare(experiment, baseline=sides["baseline"], candidate=sides["baseline"], metric_key="latency")


def test_nothing_in_common_is_said_and_no_error(experiment, sides, metric):
    found = compare(experiment, **sides, metric_key="correctness")
    assert (found.call, found.pairs, found.p_value, found.low) == (Call.UNSURE, 0, None, None)
    assert "no input" in wording.sentence(found)


def test_repeats_and_raters_are_averaged_first(experiment, sides, metric, alice):
    """An input that was run five times counts once; what two raters say of one answer counts once."""
    row = experiment.inputs.first()
    for value in (1, 1, 1, 1, 5):
        run = factories.make_run(experiment, variant=sides["baseline"].variant, input=row)
        EvalScore.objects.create(run=run, metric=metric, value=value)
    run = factories.make_run(experiment, variant=sides["candidate"].variant, input=row)
    for rater, value in ((alice, 2), (factories.make_user("bob"), 5)):
        EvalScore.objects.create(run=run, metric=metric, rater=rater, value=value)
    (pair,) = overview(experiment, **sides, measure=Measure.of(metric)).pairs
    assert (pair.baseline, pair.candidate) == (pytest.approx(9 / 5), 3.5)


def test_thumbs_latency_and_tokens(experiment, sides, alice):
    for row in experiment.inputs.all():
        for side, up, latency in (("baseline", True, 100), ("candidate", False, 300)):
            fields = {"variant": sides[side].variant, "input": row, "output_tokens": latency // 10}
            run = factories.make_run(experiment, latency_ms=latency + row.pk.int % 7, **fields)
            run.thumbs.create(rater=alice, up=up)
            factories.make_run(experiment, latency_ms=90_000, cold_start=True, **fields)
            factories.make_run(experiment, state="failed", latency_ms=5, **fields)
    found = {one.metric_key: one for one in compare_metrics(experiment, **sides)}
    assert {key: one.call for key, one in found.items()} == dict.fromkeys(
        ("thumbs", "latency", "tokens"), Call.WORSE
    )
    assert (found["thumbs"].difference, found["thumbs"].method) == (-1.0, "exact McNemar test")
    assert found["latency"].difference == pytest.approx(200)
    assert (found["latency"].wins, found["latency"].losses) == (0, 12)


def test_the_words_name_the_batches_where_the_variant_is_the_same(experiment, metric):
    variant = experiment.variants.first()
    batches = [experiment.batches.create(total=8, state="finished") for _ in range(2)]
    for batch, value in zip(batches, (1, 2), strict=True):
        for number, row in enumerate(experiment.inputs.all()):
            run = factories.make_run(experiment, variant=variant, input=row)
            run.batch = batch
            run.save()
            EvalScore.objects.create(run=run, metric=metric, value=value + number / 100 * value)
    found = compare(
        experiment,
        baseline=Side(variant, batches[0]),
        candidate=Side(variant, batches[1]),
        metric_key="correctness",
    )
    words = wording.sentence(found)
    assert words.startswith(f"variant 1 ({batches[1]}) is better than variant 1 ({batches[0]}) in")
