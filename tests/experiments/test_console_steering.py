"""The console's Run with options, its plan, and the buttons of a batch."""

from __future__ import annotations

import re

import pytest

from experiments.models import Batch
from experiments.services import planning
from experiments.views import in_words
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def experiment(org):
    factories.set_default_model(org, factories.make_model())
    return factories.make_experiment(org, inputs=2, variants=2)


@pytest.fixture
def console(client, alice, org):
    """POST to a part of the experiments' address; the page that comes back as text."""
    client.force_login(alice)

    def post(path, **fields):
        answer = client.post(f"/app/orgs/{org.pk}/experiments/{path}", fields, headers={"hx-request": "true"})
        return answer.status_code, answer.content.decode()

    return post


@pytest.fixture
def update(client, alice, org):
    """What has changed of a batch, as the page asks for it."""
    client.force_login(alice)

    def get(batch, **shown):
        answer = client.get(f"/app/orgs/{org.pk}/experiments/batches/{batch.pk}", shown)
        return answer.status_code, answer.content.decode()

    return get


def test_the_plain_button_runs_everything_as_usual(console, experiment):
    assert console(f"{experiment.pk}/run")[0] == 200
    batch = Batch.objects.get()
    assert (batch.total, batch.repeats, batch.parallel) == (4, 1, planning.DEFAULT_PARALLEL)
    assert (batch.at_most_once, batch.use_cache, batch.token_budget) == (False, False, None)


def test_the_options_of_the_dialog_are_kept(console, experiment):
    fields = {"repeats": 2, "parallel": 3, "token_budget": 500, "use_cache": "1", "at_most_once": "1"}
    assert console(f"{experiment.pk}/run", **fields)[0] == 200
    batch = Batch.objects.get()
    assert (batch.total, batch.parallel, batch.token_budget) == (8, 3, 500)
    assert (batch.at_most_once, batch.use_cache) == (True, True)


def test_the_plan_tells_cells_and_what_it_does_not_know(console, experiment):
    status, text = console(f"{experiment.pk}/plan", repeats=3)
    assert status == 200
    assert "12 cells" in text
    assert "no answer of this model was measured yet" in text
    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"repeats": 99}, "20"), ({"fill_gaps": "1"}, "Nothing is missing")],
)
def test_the_plan_tells_what_stands_against_it(console, experiment, fields, words):
    planning.start_batch(experiment=experiment, author=None)
    status, text = console(f"{experiment.pk}/plan", **fields)
    assert status == 200
    assert words in text


def test_pause_and_resume(console, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    _, text = console(f"batches/{batch.pk}/pause")
    assert "alice paused it." in text
    assert "Resume" in text
    assert "New token budget" not in text
    _, text = console(f"batches/{batch.pk}/resume")
    assert "Pause" in text
    batch.refresh_from_db()
    assert batch.state == "running"


def test_a_used_up_budget_asks_for_another(console, experiment, client, org):
    batch = planning.start_batch(experiment=experiment, author=None)
    Batch.objects.update(
        state="paused", paused_reason="budget", paused_note="Used up.", token_budget=10, tokens=12
    )
    text = client.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}").content.decode()
    assert "Used up." in text
    assert "New token budget" in text
    assert console(f"batches/{batch.pk}/resume", token_budget=20)[0] == 200
    batch.refresh_from_db()
    assert (batch.state, batch.token_budget) == ("running", 20)


def test_a_batch_names_its_stream_until_it_has_ended(console, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    assert f"/batches/{batch.pk}/events" in console(f"batches/{batch.pk}/pause")[1]
    assert "/events" not in console(f"batches/{batch.pk}/cancel")[1]


def test_an_update_holds_the_cells_that_the_page_shows_in_another_state(update, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    old, new, running, unseen = batch.runs.all()
    batch.runs.exclude(pk=running.pk).update(state="succeeded", output="an answer")
    batch.runs.filter(pk=running.pk).update(state="running")
    status, text = update(batch, query="view=list", succeeded=old.pk, queued=[new.pk, running.pk])
    assert status == 200
    assert [f'id="run-{run.pk}"' in text for run in (old, new, running, unseen)] == [False, True, True, False]
    assert '<strong data-count="succeeded">3</strong>' in text


def test_an_update_of_a_filtered_list_is_the_list(update, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    failed, *others = batch.runs.all()
    batch.runs.filter(pk=failed.pk).update(state="failed")
    _, text = update(batch, query="view=list&state=failed", queued=[run.pk for run in others])
    assert 'hx-swap-oob="innerHTML:#cells"' in text
    assert [f'id="run-{run.pk}"' in text for run in (failed, *others)] == [True, False, False, False]


def test_an_update_tells_nothing_of_another_batch_s_cells(update, experiment):
    foreign = factories.make_run(
        factories.make_experiment(factories.make_org("Elsewhere"), inputs=1, variants=1)
    )
    batch = planning.start_batch(experiment=experiment, author=None)
    assert str(foreign.pk) not in update(batch, queued=foreign.pk)[1]


def test_an_update_is_for_readers_of_the_org(update, client, charlie, experiment, org):
    batch = planning.start_batch(experiment=experiment, author=None)
    client.force_login(charlie)
    assert update(batch)[0] == 404
    org.memberships.all().delete()
    client.force_login(factories.make_user("dora"))
    assert update(batch)[0] == 404


def test_another_org_s_batch_is_404(client, org, charlie, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    client.force_login(charlie)
    elsewhere = charlie.memberships.get().org
    assert client.get(f"/app/orgs/{elsewhere.pk}/experiments/batches/{batch.pk}").status_code == 404


def test_words_for_slow_and_fast_batches():
    assert [in_words.speed(one) for one in (0, 0.05, 3.21)] == ["", "3.0 cells/min", "3.2 cells/s"]
    assert [in_words.time_left(one) for one in (None, 2.1, 61, 7_200)] == [
        "",
        "about 3 s left",
        "about 2 min left",
        "about 2 h left",
    ]


def test_cached_cells_are_marked(console, experiment, client, org):
    batch = planning.start_batch(experiment=experiment, author=None)
    original, copy = batch.runs.all()[:2]
    batch.runs.filter(pk=copy.pk).update(state="succeeded", cached_from=original, cached_latency_ms=1234)
    text = client.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}").content.decode()
    assert text.count(">cached<") == 1
    assert "1,234 ms" in text
    assert ">cached<" in client.get(f"/app/orgs/{org.pk}/experiments/runs/{copy.pk}").content.decode()


def test_an_update_of_the_grid_holds_the_cells_that_look_otherwise_now(update, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    _, text = update(batch, seen="")
    assert 'hx-swap-oob="innerHTML:#cells"' in text, "a page that shows other cells gets all of them"
    trace = re.search(r'name="seen" value="(\w+)"', text)[1]
    assert "#cells" not in update(batch, seen=trace)[1]
    closed = batch.runs.first()
    batch.runs.filter(pk=closed.pk).update(state="succeeded", output="an answer")
    _, text = update(batch, seen=trace)
    assert [f'id="run-{run.pk}"' in text for run in batch.runs.all()] == [
        run.pk == closed.pk for run in batch.runs.all()
    ]
    assert re.search(r'name="seen" value="(\w+)"', text)[1] != trace


def test_an_update_of_a_filtered_grid_is_the_grid(update, experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    batch.runs.filter(pk=batch.runs.first().pk).update(state="failed")
    _, text = update(batch, query="state=failed", seen="")
    assert 'hx-swap-oob="innerHTML:#cells"' in text
    assert text.count('class="grid-input"') == 1
