"""Cells that wait and are not claimed: when that is trouble, and when it is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from evalsuite.audit.models import AuditEvent
from evalsuite.audit.services import record
from evalsuite.clock import in_seconds
from experiments.models import Batch, ExperimentRun, RunAttempt
from experiments.models.runs import SweepTurn
from experiments.services import planning, readiness, steering
from llm_routing.models import Endpoint, Provider
from tests import factories
from tests.audit.events import forget_events

pytestmark = pytest.mark.django_db
LONG_AGO_S = -3_600


@pytest.fixture
def batch(org):
    """Four cells that have waited for an hour, and nobody was there."""
    factories.set_default_model(org, factories.make_model())
    batch = planning.start_batch(experiment=factories.make_experiment(org, inputs=4, variants=1), author=None)
    age(batch)
    return batch


def age(batch):
    """An hour goes by."""
    for rows in (Batch.objects.filter(pk=batch.pk), batch.runs.all()):
        rows.update(created_at=in_seconds(LONG_AGO_S))
    events = list(AuditEvent.objects.all())
    forget_events()
    for event in events:
        event.created_at += timedelta(seconds=LONG_AGO_S)
    AuditEvent.objects.bulk_create(events)


def attempt(batch, **times):
    run = batch.runs.first()
    return RunAttempt.objects.create(id=run.pk, run=run, number=1, **{"started_at": Now(), **times})


def test_old_cells_that_nobody_claims_are_trouble(batch):
    assert readiness.standstill() == "cells wait, and none was claimed for 40 s: no worker is there"


def test_it_is_noticed_within_a_minute():
    assert readiness.patience_s() + 10 < 60


def test_fresh_cells_are_none(batch):
    batch.runs.update(created_at=Now())
    assert readiness.standstill() == ""


@pytest.mark.parametrize("state", ["paused", "cancelled", "finished"])
def test_a_batch_that_does_not_run_is_none(batch, state):
    Batch.objects.update(state=state)
    assert readiness.standstill() == ""


def test_cells_that_wait_for_their_pause_are_none(batch):
    batch.runs.update(not_before=in_seconds(60))
    assert readiness.standstill() == ""
    batch.runs.update(not_before=in_seconds(-60))
    assert readiness.standstill()


def test_a_cell_in_the_air_shows_that_somebody_works(batch):
    running = ExperimentRun.objects.filter(pk=batch.runs.first().pk)
    running.update(state="running", lease_until=in_seconds(5))
    assert readiness.standstill() == ""
    running.update(lease_until=in_seconds(-5))
    assert readiness.standstill()


def test_a_claim_elsewhere_shows_it_too(batch, org):
    other = planning.start_batch(experiment=batch.experiment, author=None)
    made = attempt(other)
    assert readiness.standstill() == ""
    RunAttempt.objects.filter(pk=made.pk).update(started_at=in_seconds(LONG_AGO_S))
    assert readiness.standstill()
    RunAttempt.objects.filter(pk=made.pk).update(ended_at=in_seconds(-2))
    assert readiness.standstill() == ""


def test_a_batch_that_was_just_retried_has_not_waited(batch, alice):
    batch.runs.update(state="failed")
    Batch.objects.update(state="finished", finished_at=Now())
    steering.retry_failed(batch, actor=alice)
    assert readiness.standstill() == ""
    age(batch)
    assert readiness.standstill()


def test_one_that_was_steered_does_not_hide_another(batch, alice, org):
    other = planning.start_batch(experiment=batch.experiment, author=None)
    age(other)
    record("experiment.batch.resumed", org=org, actor=alice, subject=other)
    assert readiness.standstill()


def test_a_worker_that_sweeps_and_claims_nothing_is_told_apart(batch):
    SweepTurn.objects.create(name="sweep", due_at=in_seconds(1))
    assert readiness.standstill().endswith("a worker sweeps, but claims nothing")


def test_servers_that_are_switched_off_are_no_trouble_of_ours(batch):
    Endpoint.objects.update(enabled=False)
    assert readiness.standstill() == ""
    Endpoint.objects.update(enabled=True)
    Provider.objects.update(enabled=False)
    assert readiness.standstill() == ""


def test_an_orgs_own_server_counts_only_where_no_worker_is(batch, org):
    Provider.objects.update(org=org)
    assert readiness.standstill().endswith("no worker is there")
    SweepTurn.objects.create(name="sweep", due_at=in_seconds(1))
    assert readiness.standstill() == ""


def test_readyz_tells_it(client, batch, settings):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ok": False, "workers": readiness.standstill()}
    batch.runs.update(created_at=Now())
    assert client.get("/readyz").json() == {"ok": True}


def test_it_costs_one_look_while_work_goes_on(batch, django_assert_num_queries):
    batch.runs.update(state="running", lease_until=in_seconds(5))
    with django_assert_num_queries(1):
        readiness.standstill()
