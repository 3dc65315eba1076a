"""What a press of Run writes down, before any worker looks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from evalsuite.errors import InvalidBody, NotFound
from experiments.models import Batch, ExperimentRun
from experiments.services import planning
from llm_routing.errors import ModelNotFound
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready(org):
    factories.set_default_model(org, factories.make_model())
    return factories.make_experiment(org, inputs=3, variants=2)


def start(experiment, **options):
    return planning.start_batch(experiment=experiment, author=None, **options)


def test_one_cell_for_each_input_variant_and_repeat(ready):
    batch = start(ready, repeats=2)
    assert batch.total == batch.runs.count() == 12
    assert set(batch.runs.values_list("state", flat=True)) == {"queued"}
    assert sorted(batch.runs.values_list("position", flat=True)) == list(range(12))


def test_a_part_of_the_inputs_and_variants(ready):
    one, two = ready.inputs.all()[:2]
    batch = start(ready, input_ids=[one.pk, two.pk], variant_ids=[ready.variants.first().pk])
    assert batch.total == 2


def test_explicit_beats_profile_beats_default_and_is_kept_with_the_cell(ready, org):
    profile = factories.make_profile(org, temperature=0.2, top_p=0.3, max_tokens=50)
    variant = ready.variants.first()
    variant.chat_profile = profile
    variant.config = {"temperature": 1.1, "promptTemplate": "Q: {{ input }}", "seed": 7, "unknown": 1}
    variant.save()
    run = start(ready).runs.filter(variant=variant, input__key="case_1").get()
    assert (run.temperature, run.top_p, run.max_tokens) == (1.1, 0.3, 50)
    assert run.parameters["seed"] == 7
    assert run.messages == [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": "Q: text 1"},
    ]
    assert run.snapshot["chatProfile"] == {"id": str(profile.pk), "name": "Helper", "version": 1}


def test_later_edits_do_not_change_what_an_old_cell_says(ready):
    batch = start(ready)
    ready.inputs.update(content="edited")
    ready.variants.update(system_prompt="edited")
    assert batch.runs.filter(messages__icontains="edited").count() == 0


def test_the_expected_answer_never_reaches_a_prompt(ready):
    ready.inputs.update(expected="SECRET")
    ready.variants.update(config={"promptTemplate": "{{ input }} {{ expected }} {{ metadata.expected }}"})
    with pytest.raises(InvalidBody):
        start(ready)
    ready.variants.update(config={"promptTemplate": "{{ input }} {{ expected }}"})
    assert not any("SECRET" in str(run.messages) for run in start(ready).runs.all())


def test_work_is_ordered_by_model_so_that_none_is_loaded_twice(ready):
    other = factories.make_model("other:1b")
    ready.variants.filter(name="variant 2").update(config={"modelName": other.name})
    models = list(start(ready).runs.order_by("position").values_list("model_name", flat=True))
    assert sum(a != b for a, b in pairwise(models)) == 1


@pytest.mark.parametrize(("inputs", "variants", "field"), [(0, 1, "inputs"), (1, 0, "variants")])
def test_nothing_to_run_is_refused_and_named(org, inputs, variants, field):
    factories.set_default_model(org, factories.make_model())
    with pytest.raises(InvalidBody) as error:
        start(factories.make_experiment(org, inputs=inputs, variants=variants))
    assert field in error.value.fields
    assert Batch.objects.count() == 0


def test_too_many_cells_are_refused(ready, settings):
    settings.RUN_CELLS_MAX = 5
    with pytest.raises(InvalidBody):
        start(ready)
    assert ExperimentRun.objects.count() == 0


def test_ids_of_another_experiment_are_not_found(ready, org):
    foreign = factories.make_experiment(org, inputs=1, variants=1)
    with pytest.raises(NotFound) as error:
        start(ready, input_ids=[foreign.inputs.get().pk])
    assert error.value.code == "INPUT_NOT_FOUND"
    with pytest.raises(NotFound) as error:
        start(ready, variant_ids=[foreign.variants.get().pk])
    assert error.value.code == "VARIANT_NOT_FOUND"


def test_an_unknown_model_is_an_error_and_never_another_one(ready):
    ready.variants.filter(name="variant 2").update(config={"modelName": "nope"})
    with pytest.raises(ModelNotFound):
        start(ready)
    assert Batch.objects.count() == 0


def test_a_broker_that_is_down_costs_nothing_but_time(ready, monkeypatch, django_capture_on_commit_callbacks):
    from kombu.exceptions import OperationalError

    from experiments.services import permits

    class Down:
        def send_task(self, *args, **kwargs):
            raise OperationalError("down")

    monkeypatch.setattr(permits, "current_app", Down())
    with django_capture_on_commit_callbacks(execute=True):
        batch = start(ready)
    assert batch.runs.count() == 6
