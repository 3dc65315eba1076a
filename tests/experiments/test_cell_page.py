"""One cell: its page, its sheet beside the grid, what people say of it, and how it differs from others."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from evalsuite.ids import new_id
from experiments.models import EvalScore, Evaluator, ExperimentRun, RunAttempt
from tests import factories
from tests.experiments.results import cell, make_batch, make_experiment, score

pytestmark = pytest.mark.django_db
PART = {"hx-request": "true", "hx-target": "cell-sheet"}


@pytest.fixture
def batch(org):
    return make_batch(make_experiment(org))


@pytest.fixture
def run(batch):
    return cell(batch, 1, "case_1")


@pytest.fixture
def runs(client, alice, org):
    """Addresses below the runs, by a person who is signed in."""
    client.force_login(alice)
    return f"/app/orgs/{org.pk}/experiments/runs"


def test_the_sheet_tells_all_that_made_the_answer(client, runs, run, org, alice):
    metric = factories.make_metric(org, "correctness")
    evaluator = Evaluator.objects.create(
        experiment=run.experiment, metric=metric, kind="exact_match", name="Exact"
    )
    judge = Evaluator.objects.create(
        experiment=run.experiment, metric=metric, kind="exact_match", name="Judge"
    )
    score(run, metric, 0.5, evaluator=evaluator, note="half of it")
    score(run, metric, 1, rater=alice, note="fine")
    RunAttempt.objects.create(
        id=new_id(),
        run=run,
        number=1,
        started_at="2026-01-01T00:00Z",
        outcome="retry",
        error_message="It was busy.",
    )
    ExperimentRun.objects.filter(pk=run.pk).update(
        thinking="First I think.",
        tool_calls=[{"name": "search"}],
        model_digest="d1g357",
        parameters={"num_ctx": 4096, "stop": ["###"]},
        queue_ms=40,
        decode_ms=60.0,
        evaluation_notes={str(judge.pk): "The judge was away."},
    )
    text = client.get(f"{runs}/{run.pk}", headers=PART).content.decode()
    for words in (
        "Messages as sent", "text 1", "variant 1 on case_1", "First I think.", "search", "d1g357", "4096",
        "###", "Waited in our queue", "Writing the answer", "It was busy.", "Exact", "half of it", "alice",
        "fine", "Judge", "The judge was away.", "answer 1", "Compare with",
    ):  # fmt: skip
        assert words in text
    assert "<html" not in text
    assert "<html" in client.get(f"{runs}/{run.pk}").content.decode()


def test_the_address_of_a_cell_opens_its_sheet(client, runs, run, org):
    url = f"/app/orgs/{org.pk}/experiments/{run.experiment_id}"
    page = client.get(f"{url}?cell={run.pk}").content.decode()
    assert f'hx-get="{runs}/{run.pk}" hx-trigger="load"' in page
    assert 'hx-trigger="load"' not in client.get(f"{url}?cell=nonsense").content.decode()


def test_a_note_is_kept_and_cleared(client, runs, run):
    assert "Saved." in client.post(f"{runs}/{run.pk}/note", {"note": "too long"}).content.decode()
    run.refresh_from_db()
    assert run.feedback_note == "too long"
    client.post(f"{runs}/{run.pk}/note", {"note": "  "})
    run.refresh_from_db()
    assert run.feedback_note is None
    assert AuditEvent.objects.filter(event="experiment.feedback.updated").count() == 2


def test_a_score_is_given_changed_and_removed(client, runs, run, org):
    metric = factories.make_metric(org, minimum=1, maximum=5)
    fields = {"metric": metric.pk, "value": "4", "note": "nearly"}
    assert "nearly" in client.post(f"{runs}/{run.pk}/score", fields).content.decode()
    client.post(f"{runs}/{run.pk}/score", {**fields, "value": "2"})
    given = EvalScore.objects.get()
    assert given.value == 2
    client.post(f"{runs}/{run.pk}/scores/{given.pk}/remove")
    assert not EvalScore.objects.exists()


@pytest.mark.parametrize(
    ("value", "words"), [("9", "at most 5"), ("nan", "value"), ("", "value"), ("inf", "value")]
)
def test_a_bad_score_is_refused_in_words(client, runs, run, org, value, words):
    metric = factories.make_metric(org, minimum=1, maximum=5)
    answer = client.post(f"{runs}/{run.pk}/score", {"metric": metric.pk, "value": value}, headers=PART)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert answer["HX-Retarget"] == "#snackbar"


def test_a_metric_of_another_org_is_not_found(client, runs, run):
    metric = factories.make_metric(factories.make_org())
    answer = client.post(f"{runs}/{run.pk}/score", {"metric": metric.pk, "value": "1"})
    assert answer.status_code == 404


def test_a_viewer_reads_and_rates_nothing(client, runs, run, alice):
    alice.memberships.update(role="viewer")
    text = client.get(f"{runs}/{run.pk}").content.decode()
    assert "Give score" not in text
    assert "Save note" not in text
    for path in ("note", "score", "rate", f"scores/{new_id()}/remove"):
        assert client.post(f"{runs}/{run.pk}/{path}", {}).status_code == 403


def test_a_rater_removes_no_score_of_others(client, runs, run, org, alice):
    given = score(run, factories.make_metric(org), 1, rater=factories.make_user("bob", org=org))
    alice.memberships.update(role="rater")
    assert client.post(f"{runs}/{run.pk}/scores/{given.pk}/remove").status_code == 403


def test_two_answers_word_by_word(client, runs, run, batch):
    other = cell(batch, 2, "case_1")
    text = client.get(f"{runs}/{run.pk}/diff?with={other.pk}", headers=PART).content.decode()
    assert '<del><span class="visually-hidden"> [removed: </span>2<' in text
    assert '<ins><span class="visually-hidden"> [added: </span>1<' in text
    assert "<html" in client.get(f"{runs}/{run.pk}/diff?with={other.pk}").content.decode()


def test_a_difference_is_text_whatever_was_written(client, runs, run, batch):
    other = cell(batch, 2, "case_1")
    ExperimentRun.objects.filter(pk=run.pk).update(output="see <b>this</b> now")
    ExperimentRun.objects.filter(pk=other.pk).update(output="see <i>that</i> now")
    text = client.get(f"{runs}/{run.pk}/diff?with={other.pk}").content.decode()
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_difference_is_of_one_experiment(client, runs, run, org):
    elsewhere = cell(make_batch(make_experiment(org)), 1, "case_1")
    for other in (elsewhere.pk, new_id(), "nonsense", ""):
        assert client.get(f"{runs}/{run.pk}/diff?with={other}").status_code == 404
    assert client.get(f"{runs}/{run.pk}/diff").status_code == 404


def test_other_batches_are_offered_to_compare_with(client, runs, run):
    earlier = cell(make_batch(run.experiment), 1, "case_1")
    text = client.get(f"{runs}/{run.pk}", headers=PART).content.decode()
    assert f'value="{earlier.pk}"' in text
