"""`manage.py run_experiment`: exit status, what it prints, and where the work is done."""

from __future__ import annotations

import fcntl
import io
import json

import pytest
from django.core.management import CommandError, call_command

from experiments.models import Batch
from experiments.services import planning
from experiments.worker import EmbeddedWorker
from tests import factories
from tests.experiments.commands import run_experiment as run
from tests.experiments.conftest import worker_process
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("data_dir")]


@pytest.fixture
def experiment(org):
    """Three inputs and two variants."""
    with ObedientOllama() as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=8))
        yield factories.make_experiment(org, inputs=3, variants=2)


def test_runs_by_name_and_shows_a_table(experiment):
    done = run("Tone")
    assert done.status == 0
    assert "6/6 cells" in done.err
    heads, _, first, second = done.out.splitlines()[1:5]
    assert heads.split()[:2] == ["variant", "cells"]
    assert first.split()[:4] == ["variant", "1", "3", "0"]
    assert second.split()[:4] == ["variant", "2", "3", "0"]


def test_json_is_the_only_thing_printed(experiment):
    done = run(experiment.pk, "--json", "--repeats", 2, "--author", _author(experiment))
    document = json.loads(done.out)
    assert done.err == ""
    assert document["state"] == "finished"
    assert document["cells"] == {"total": 12, "succeeded": 12, "failed": 0, "cancelled": 0}
    assert [variant["cells"]["total"] for variant in document["variants"]] == [6, 6]
    assert Batch.objects.get().author.username == "bob"


def _author(experiment):
    return factories.make_user("bob", org=experiment.org).username


def test_only_the_chosen_variant_and_input(experiment):
    variant, row = experiment.variants.first(), experiment.inputs.first()
    done = run("Tone", "--org", experiment.org.slug, "--variant", variant.pk, "--input", row.pk, "--json")
    assert [one["variantId"] for one in json.loads(done.out)["variants"]] == [str(variant.pk)]
    assert Batch.objects.get().total == 1


def test_a_failed_cell_shows_in_the_exit_status(experiment):
    experiment.inputs.filter(key="case_1").update(content="too-long")
    done = run("Tone", "--json")
    assert done.status == 2
    assert json.loads(done.out)["cells"]["failed"] == 2
    assert "Trouble: 2 cells failed, 0 were cancelled." in run("Tone").out


def test_the_time_is_over(experiment):
    experiment.inputs.update(content="sleep-5")
    done = run("Tone", "--timeout", 0.5)
    assert done.status == 2
    assert "The time is over" in done.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Nothing"], "There is no experiment Nothing."),
        (["Tone", "--org", "nowhere"], "There is no experiment Tone in the organisation nowhere."),
        (["0190aaaa-0000-7000-8000-000000000000"], "There is no experiment 0190aaaa"),
        (["Tone", "--author", "nobody"], "There is no user nobody."),
        (["Tone", "--variant", "0190aaaa-0000-7000-8000-000000000000"], "There is no such variant."),
        (["Tone", "--repeats", "0"], "--repeats"),
        (["Tone", "--no-wait"], "--no-wait needs a worker"),
    ],
)
def test_wrong_usage(experiment, arguments, complaint):
    done = run(*arguments)
    assert done.status != 0
    assert complaint in done.err
    assert not Batch.objects.exists()


def test_the_exit_status_of_wrong_usage_is_2(experiment):
    assert run("Nothing").status == 2
    assert run("Tone", "--author", "nobody").status == 2


def test_two_experiments_of_one_name(experiment):
    factories.make_experiment(factories.make_org(), name="Tone")
    done = run("Tone")
    assert done.status == 2
    assert str(experiment.pk) in done.err


def test_nothing_to_run(org):
    factories.make_experiment(org, name="Empty")
    done = run("Empty")
    assert done.status == 2
    assert "The experiment has no inputs yet." in done.err


def test_the_process_that_serves_does_the_work(experiment, data_dir):
    with (data_dir / "serve.lock").open("a") as file, EmbeddedWorker():
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run("Tone", "--timeout", 30).status == 0


@pytest.mark.redis
def test_workers_behind_a_broker_do_the_work(redis_broker, experiment, settings):
    settings.EMBEDDED_BROKER = False
    started = run("Tone", "--no-wait", "--json")
    assert started.status == 0
    assert json.loads(started.out)["cells"]["succeeded"] == 0
    with worker_process(redis_broker):
        assert run("Tone", "--timeout", 60).status == 0


def test_gaps_alone_and_answers_taken_over(experiment):
    experiment.variants.update(config={"temperature": 0})
    assert run("Tone").status == 0
    assert run("Tone", "--fill-gaps").status == 2
    done = run("Tone", "--fill-gaps", "--use-cache", "--repeats", 2, "--json")
    assert done.status == 0
    assert json.loads(done.out)["cells"]["succeeded"] == 6
    assert not Batch.objects.first().runs.filter(cached_from=None).exists()


def test_a_batch_that_calls_at_most_once_within_a_budget(experiment):
    done = run("Tone", "--at-most-once", "--token-budget", 1, "--parallel", 1)
    batch = Batch.objects.get()
    assert (batch.at_most_once, batch.token_budget) == (True, 1)
    assert (done.status, batch.state, batch.paused_reason) == (2, "paused", "budget")
    assert f"batch resume {batch.pk}" in done.out


def steer(*arguments):
    out = io.StringIO()
    call_command("batch", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_a_batch_is_steered_by_command(experiment):
    batch = planning.start_batch(experiment=experiment, author=None, token_budget=5)
    assert steer("pause", batch.pk, "--author", _author(experiment)) == f"Batch {batch.pk}: paused\n"
    batch.refresh_from_db()
    assert batch.paused_note == "bob paused it."
    assert steer("resume", batch.pk, "--token-budget", 9) == f"Batch {batch.pk}: running\n"
    batch.refresh_from_db()
    assert batch.token_budget == 9
    assert steer("cancel", batch.pk) == f"Batch {batch.pk}: cancelled\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["resume"], "not paused"),
        (["retry"], "No cell of this batch has failed"),
        (["pause", "--author", "nobody"], "There is no user nobody"),
        (["cancel", "--token-budget", "5"], "resume only"),
    ],
)
def test_what_cannot_be_done_to_a_batch(experiment, arguments, complaint):
    batch = planning.start_batch(experiment=experiment, author=None)
    with pytest.raises(CommandError, match=complaint) as refused:
        steer(arguments[0], batch.pk, *arguments[1:])
    assert refused.value.returncode == 2


def test_no_such_batch(experiment):
    with pytest.raises(CommandError, match="There is no batch"):
        steer("pause", experiment.pk)
