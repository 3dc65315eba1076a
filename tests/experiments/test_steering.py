"""Pausing, going on, budgets, and calls that are made at most once."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import Conflict, InvalidBody
from evalsuite.ids import new_id
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.services import claiming, permits, planning, recording, steering, sweeping
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def experiment(org):
    factories.set_default_model(org, factories.make_model())
    return factories.make_experiment(org, inputs=3, variants=2)


@pytest.fixture
def batch(experiment):
    return planning.start_batch(experiment=experiment, author=None)


@pytest.fixture
def handed_out(monkeypatch):
    """Batches that permits were handed out for."""
    batches = []
    monkeypatch.setattr(permits, "hand_out", lambda batch_id, **_: batches.append(batch_id))
    return batches


def pause_for(batch, reason, **fields):
    Batch.objects.filter(pk=batch.pk).update(state="paused", paused_reason=reason, **fields)


def leave(batch, *, crashes=0):
    """One cell whose worker fell silent a minute ago."""
    cell = batch.runs.first()
    past = timezone.now() - timedelta(minutes=1)
    batch.runs.filter(pk=cell.pk).update(state="running", attempt=1, lease_until=past, crashes=crashes)
    return RunAttempt.objects.create(id=new_id(), run=cell, number=1, started_at=past)


def test_pause_and_go_on(batch, alice, handed_out, django_capture_on_commit_callbacks):
    steering.pause(batch, actor=alice)
    assert (batch.state, batch.paused_reason, batch.paused_note) == ("paused", "person", "alice paused it.")
    assert not claiming.is_running(batch.pk)
    with django_capture_on_commit_callbacks(execute=True):
        steering.resume(batch, actor=alice)
    assert (batch.state, batch.paused_reason, batch.paused_note) == ("running", "", "")
    assert claiming.is_running(batch.pk)
    assert handed_out == [batch.pk]
    events = AuditEvent.objects.filter(event__startswith="experiment.batch.").order_by("id")
    assert [(event.event, event.actor) for event in events] == [
        ("experiment.batch.paused", alice),
        ("experiment.batch.resumed", alice),
    ]


def test_only_what_runs_can_be_paused_and_only_what_is_paused_goes_on(batch, alice):
    with pytest.raises(Conflict, match="not paused"):
        steering.resume(batch, actor=alice)
    steering.pause(batch, actor=alice)
    with pytest.raises(Conflict, match="already"):
        steering.pause(batch, actor=alice)
    steering.cancel(batch, actor=alice)
    for steer in (steering.pause, steering.resume, steering.cancel):
        with pytest.raises(Conflict, match="ended"):
            steer(batch, actor=alice)


def test_a_paused_batch_can_be_cancelled_and_ends(batch, alice):
    steering.pause(batch, actor=alice)
    steering.cancel(batch, actor=alice)
    assert (batch.state, batch.paused_reason) == ("cancelled", "")
    assert batch.finished_at is not None


def test_a_used_up_budget_must_be_raised(batch, alice):
    pause_for(batch, "budget", token_budget=100, tokens=120)
    with pytest.raises(Conflict, match="120 tokens"):
        steering.resume(batch, actor=alice)
    with pytest.raises(InvalidBody, match="tokenBudget"):
        steering.resume(batch, actor=alice, token_budget=120)
    steering.resume(batch, actor=alice, token_budget=121)
    assert (batch.state, batch.token_budget) == ("running", 121)
    event = AuditEvent.objects.get(event="experiment.batch.resumed")
    assert event.after == {"was": "budget", "tokenBudget": 121}


def test_a_budget_can_be_taken_away(batch, alice):
    pause_for(batch, "budget", token_budget=100, tokens=120)
    steering.resume(batch, actor=alice, token_budget=None)
    assert (batch.state, batch.token_budget) == ("running", None)


def test_failed_cells_of_a_paused_batch_wait_with_it(batch, alice):
    batch.runs.filter(pk=batch.runs.first().pk).update(state="failed")
    steering.pause(batch, actor=alice)
    assert steering.retry_failed(batch, actor=alice) == 1
    assert batch.state == "paused"


def test_the_sweeper_lets_a_batch_go_on_when_there_is_room(
    batch, handed_out, django_capture_on_commit_callbacks
):
    pause_for(batch, "quota", resume_at=timezone.now() + timedelta(minutes=1))
    sweeping.sweep()
    batch.refresh_from_db()
    assert batch.state == "paused"
    pause_for(batch, "quota", resume_at=timezone.now() - timedelta(seconds=1))
    with django_capture_on_commit_callbacks(execute=True):
        sweeping.sweep()
    batch.refresh_from_db()
    assert (batch.state, batch.paused_reason, batch.resume_at) == ("running", "", None)
    assert handed_out == [batch.pk]


@pytest.mark.parametrize("reason", ["person", "budget"])
def test_the_sweeper_leaves_to_people_what_people_must_decide(batch, reason):
    pause_for(batch, reason, resume_at=timezone.now() - timedelta(seconds=1))
    sweeping.sweep()
    batch.refresh_from_db()
    assert batch.state == "paused"


def test_a_lost_attempt_of_an_expensive_model_waits_for_a_person(experiment, alice):
    batch = planning.start_batch(experiment=experiment, author=None, at_most_once=True)
    attempt = leave(batch)
    sweeping.sweep()
    attempt.refresh_from_db()
    cell = attempt.run
    cell.refresh_from_db()
    assert (cell.state, cell.error_code, cell.lease_until) == ("failed", "ATTEMPT_LOST", None)
    assert attempt.outcome == "lost"
    assert steering.retry_failed(batch, actor=alice) == 1
    cell.refresh_from_db()
    assert cell.state == "queued"


@pytest.mark.parametrize(("crashes", "state", "code"), [(0, "queued", ""), (2, "failed", "WORKER_LOST")])
def test_other_lost_attempts_are_made_again_until_the_third(batch, crashes, state, code):
    attempt = leave(batch, crashes=crashes)
    sweeping.sweep()
    cell = ExperimentRun.objects.get(pk=attempt.run_id)
    assert (cell.state, cell.error_code, cell.crashes) == (state, code, crashes + 1)


def test_queued_cells_are_cancelled_within_a_second(org, alice):
    factories.set_default_model(org, factories.make_model())
    experiment = factories.make_experiment(org, inputs=500, variants=20)
    batch = planning.start_batch(experiment=experiment, author=None)
    batch.runs.filter(position__lt=3_000).update(state="succeeded")
    begin = time.perf_counter()
    steering.cancel(batch, actor=alice)
    took = time.perf_counter() - begin
    print(f"\n7,000 queued cells cancelled in {took * 1000:.0f} ms")
    assert batch.runs.filter(state="cancelled").count() == 7_000
    assert batch.finished_at is not None
    assert took < 3  # one statement; far below a second on a machine that is not busy


def test_a_batch_that_was_retried_this_moment_is_not_ended(batch, alice, monkeypatch):
    ExperimentRun.objects.filter(batch=batch).update(state="failed")
    Batch.objects.filter(pk=batch.pk).update(state="finished", finished_at=timezone.now())
    looked = QuerySet.exists
    calls = []

    def retried_after_the_first_look(rows):
        found = looked(rows)
        calls.append(found)
        if len(calls) == 1:
            monkeypatch.setattr(QuerySet, "exists", looked)
            steering.retry_failed(batch, actor=alice)
        return found

    monkeypatch.setattr(QuerySet, "exists", retried_after_the_first_look)
    assert not recording.finish_if_done(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.finished_at) == ("running", None)
