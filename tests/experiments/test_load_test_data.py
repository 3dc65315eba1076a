"""Test data of any size: as the engine would have left it, reproducible, and never over real data."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count, F, Sum

from evalsuite.audit.models import AuditEvent, PendingEvent
from evalsuite.audit.verifying import verify
from evalsuite.metrics.models import Total
from evalsuite.orgs.models import Org
from evalsuite.quotas.models import UsageRecord
from experiments.loadtest.shape import Shape
from experiments.models import Batch, EvalScore, Experiment, ExperimentRun, RunAttempt, Thumb
from tests.quotas.helpers import assert_books_balance

SIZES = {"experiments": 4, "cells": 440, "largest": 200, "orgs": 3, "members": 3, "days": 40}


@pytest.fixture
def loaded(db):
    call_command("load_test_data", password="x", processes=1, verbosity=0, **SIZES)
    return Org.objects.get(slug="loadtest")


def test_what_is_there_adds_up(loaded):
    cells = ExperimentRun.objects.filter(experiment__org=loaded)
    answered = cells.filter(state="succeeded").count()
    assert (cells.count(), EvalScore.objects.count(), Org.objects.count()) == (440, 3 * 440, 3)
    assert Experiment.objects.filter(org=loaded).count() == 4
    batches = Batch.objects.annotate(cells=Count("runs"))
    assert not batches.exclude(total=F("cells")).exists()
    assert not batches.filter(finished_at=None).exists()
    assert RunAttempt.objects.count() == 440
    assert UsageRecord.objects.count() == answered < 440
    assert_books_balance(loaded)
    assert AuditEvent.objects.filter(event="experiment.run.completed").count() == 440
    assert Thumb.objects.count() == cells.exclude(thumbs_up=None).count() > 0
    closed = sum(
        row.numbers[0] for row in Total.objects.filter(key__startswith='["experiment_cells_closed_total"')
    )
    assert closed == 440
    assert (
        batches.aggregate(sum=Sum("tokens"))["sum"]
        == UsageRecord.objects.aggregate(sum=Sum(F("input_tokens") + F("output_tokens")))["sum"]
    )


def test_events_are_sealed(loaded):
    assert not PendingEvent.objects.exists()
    assert verify().events > 440


def test_nothing_is_put_over_or_beside_what_is_there(loaded):
    with pytest.raises(CommandError, match="data of its own"):
        call_command("load_test_data", slug="second", processes=1, **SIZES)
    with pytest.raises(CommandError, match="stays as it is"):
        call_command("load_test_data", alongside=True, processes=1, **SIZES)
    assert ExperimentRun.objects.count() == 440


@pytest.mark.parametrize("wrong", [{"cells": 441}, {"largest": 444}, {"orgs": 0}, {"empty": 99}])
def test_a_size_that_cannot_be_is_refused(db, wrong):
    with pytest.raises(CommandError):
        call_command("load_test_data", processes=1, **{**SIZES, **wrong})
    assert not Org.objects.exists()


def test_the_oldest_experiments_may_be_empty():
    assert list(Shape(experiments=4, cells=28, largest=4, empty=1).inputs()) == [0, 3, 3, 1]
