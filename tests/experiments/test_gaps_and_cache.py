"""Which cells a press of Run plans when earlier ones count: gaps alone, and answers taken over."""

from __future__ import annotations

from unittest import mock

import pytest

from evalsuite.errors import Conflict, InvalidBody
from experiments.models import ExperimentInput, ExperimentRun, ExperimentVariant
from experiments.services import planning
from llm_routing.models import RegisteredModel
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready(org):
    """Three inputs and two variants whose answers chance does not decide."""
    factories.set_default_model(org, factories.make_model())
    experiment = factories.make_experiment(org, inputs=3, variants=2)
    for variant in experiment.variants.all():
        variant.config = {"temperature": 0, "seed": 5}
        variant.save()
    return experiment


def start(experiment, **wanted):
    return planning.start_batch(experiment=experiment, author=None, **wanted)


def answered(experiment, **wanted):
    batch = start(experiment, **wanted)
    batch.runs.update(state="succeeded", latency_ms=120)
    return batch


def test_nothing_missing_is_a_conflict_and_writes_nothing(ready):
    answered(ready)
    with pytest.raises(Conflict, match="Nothing is missing"):
        start(ready, fill_gaps=True)
    assert ready.batches.count() == 1


def test_cells_under_way_are_not_missing(ready):
    start(ready)
    with pytest.raises(Conflict):
        start(ready, fill_gaps=True)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_cells_without_an_answer_are_missing(ready, state):
    batch = answered(ready)
    gap = batch.runs.first()
    batch.runs.filter(pk=gap.pk).update(state=state)
    cell = start(ready, fill_gaps=True).runs.get()
    assert (cell.variant, cell.input, cell.repeat) == (gap.variant, gap.input, gap.repeat)


def test_only_what_was_added_runs(ready):
    answered(ready)
    ExperimentInput.objects.create(experiment=ready, key="new", content="new")
    assert {run.input.key for run in answered(ready, fill_gaps=True).runs.all()} == {"new"}
    variant = ExperimentVariant.objects.create(experiment=ready, name="new")
    batch = answered(ready, fill_gaps=True)
    assert batch.total == batch.runs.filter(variant=variant).count() == 4
    batch = answered(ready, fill_gaps=True, repeats=3)
    assert batch.total == 24
    assert set(batch.runs.values_list("repeat", flat=True)) == {2, 3}


def test_an_answer_to_something_else_leaves_a_gap(ready):
    answered(ready)
    edited = ready.inputs.get(key="case_2")
    edited.content = "edited"
    edited.save()
    assert {run.input_id for run in answered(ready, fill_gaps=True).runs.all()} == {edited.pk}
    variant = ready.variants.first()
    variant.config = {"temperature": 0.5}
    variant.save()
    assert {run.variant_id for run in answered(ready, fill_gaps=True).runs.all()} == {variant.pk}
    RegisteredModel.objects.update(digest="0th3r")
    assert answered(ready, fill_gaps=True).total == 6


def test_gaps_of_a_part_only(ready):
    one = ready.inputs.first()
    assert answered(ready, fill_gaps=True, input_ids=[one.pk]).total == 2
    assert start(ready, fill_gaps=True).total == 4


def test_equal_requests_have_one_hash_and_repeats_do_not_count(ready):
    runs = start(ready, repeats=2).runs
    hashes = list(runs.values_list("request_hash", flat=True))
    # Both variants say the same, so there is one hash for each input.
    assert len(hashes) == 12
    assert len(set(hashes)) == 3
    assert all(len(digest) == 64 for digest in hashes)


@pytest.mark.parametrize(
    ("config", "is_hashed"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.7, "seed": 0}, True),
        ({"temperature": 0.7}, False),
        ({}, False),
    ],
)
def test_a_hash_only_where_chance_has_no_say(ready, config, is_hashed):
    ready.variants.update(config=config)
    assert all(bool(run.request_hash) is is_hashed for run in start(ready).runs.all())


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.inputs.update(content="other"),
        lambda e: e.variants.update(system_prompt="other"),
        lambda e: e.variants.update(config={"temperature": 0, "seed": 6}),
        lambda e: e.variants.update(config={"temperature": 0, "seed": 5, "maxTokens": 3}),
        lambda e: RegisteredModel.objects.update(digest="0th3r"),
        lambda e: RegisteredModel.objects.update(num_ctx=512),
    ],
)
def test_whatever_decides_the_answer_changes_the_hash(ready, change):
    before = set(start(ready).runs.values_list("request_hash", flat=True))
    change(ready)
    after = set(start(ready).runs.values_list("request_hash", flat=True))
    assert not before & after


def test_answers_are_taken_over_only_when_asked(ready):
    answered(ready)
    assert not start(ready).runs.exclude(cached_from=None).exists()
    batch = start(ready, use_cache=True)
    assert batch.use_cache
    for run in batch.runs.select_related("cached_from"):
        assert run.cached_from.messages == run.messages


def test_one_query_finds_all_cached_answers(ready, django_assert_max_num_queries):
    answered(ready)
    with django_assert_max_num_queries(14):
        start(ready, use_cache=True, repeats=20)


def test_only_succeeded_originals_of_the_same_org_are_taken(ready):
    batch = answered(ready)
    batch.runs.update(state="failed")
    assert not start(ready, use_cache=True).runs.exclude(cached_from=None).exists()
    other = factories.make_org()
    factories.set_default_model(other, RegisteredModel.objects.get())
    theirs = factories.make_experiment(other, inputs=3, variants=1)
    theirs.variants.update(config={"temperature": 0, "seed": 5})
    batch.runs.update(state="succeeded")
    assert not start(theirs, use_cache=True).runs.exclude(cached_from=None).exists()


def test_a_copy_is_never_the_source_of_another(ready):
    original = answered(ready)
    answered(ready, use_cache=True)
    third = start(ready, use_cache=True)
    assert {run.cached_from.batch_id for run in third.runs.all()} == {original.pk}


def test_load_options_are_told_and_order_the_work(ready, org):
    first, second = ready.variants.all()
    first.config = {"numCtx": 8192}
    first.save()
    third = ExperimentVariant.objects.create(experiment=ready, name="third", config={"numCtx": 8192})
    cells = start(ready, repeats=2).runs.order_by("position")
    assert [run.load_key for run in cells] == ["num_ctx=4096"] * 6 + ["num_ctx=8192"] * 12
    assert [run.variant_id for run in cells[:6]] == [second.pk] * 6
    assert {run.variant_id for run in cells[6:]} == {first.pk, third.pk}
    assert [run.repeat for run in cells] == [1] * 3 + [2] * 3 + [1] * 6 + [2] * 6


def test_a_server_that_takes_no_context_has_no_load_options(org):
    factories.set_default_model(org, factories.make_model(kind="openai_compatible", slug="cloud"))
    run = start(factories.make_experiment(org, inputs=1, variants=1)).runs.get()
    assert run.load_key == ""


def test_the_wishes_are_kept_with_the_batch(ready):
    batch = start(ready, at_most_once=True, token_budget=500, parallel=3)
    batch.refresh_from_db()
    assert (batch.at_most_once, batch.token_budget, batch.parallel) == (True, 500, 3)


def test_a_written_row_has_every_default_of_its_model(ready):
    """Rows are written without model instances; nothing may differ from what those would be."""
    with mock.patch.object(planning, "insert_alike", wraps=planning.insert_alike) as insert:
        run = start(ready).runs.first()
    _, varying, group, *_ = insert.call_args.args
    plain, planned = ExperimentRun(), {*varying, *group.shared, "created_at"}
    for field in ExperimentRun._meta.concrete_fields:
        if field.attname not in planned:
            assert getattr(run, field.attname) == getattr(plain, field.attname), field.attname


def test_too_many_cells(ready, settings):
    settings.RUN_CELLS_MAX = 5
    with pytest.raises(InvalidBody, match="6 cells"):
        start(ready)
