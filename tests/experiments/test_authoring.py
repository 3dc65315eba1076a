"""Writing experiments when several people do it at the same time."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from evalsuite.audit import changes as audited_changes
from evalsuite.audit.models import AuditEvent
from evalsuite.errors import Conflict
from experiments.services import authoring, changes
from tests import factories


@pytest.mark.django_db(transaction=True)
def test_of_requests_with_the_same_keys_at_once_exactly_one_wins(org):
    author = factories.make_user(org=org)
    experiment = factories.make_experiment(org)
    rows = [{"key": f"case_{n}", "content": "text"} for n in range(20)]

    def add(_):
        try:
            authoring.add_inputs(experiment=experiment, author=author, rows=rows)
        except Conflict as conflict:
            return len(conflict.details["keys"])
        else:
            return "added"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(add, range(8)))
    assert outcomes.count("added") == 1
    assert outcomes.count(20) == 7
    assert experiment.inputs.count() == 20


def test_a_change_touches_no_other_field(org, alice):
    experiment = factories.make_experiment(org)
    stale = type(experiment).objects.get(pk=experiment.pk)
    changes.update(experiment, org=org, actor=alice, changes={"description": "new"})
    changes.update(stale, org=org, actor=alice, changes={"name": "renamed"})
    experiment.refresh_from_db()
    assert (experiment.name, experiment.description) == ("renamed", "new")


def test_a_change_moves_the_time_of_the_last_change(org, alice):
    experiment = factories.make_experiment(org)
    before = experiment.updated_at
    changes.update(experiment, org=org, actor=alice, changes={"name": "renamed"})
    experiment.refresh_from_db()
    assert experiment.updated_at > before


def test_events_tell_of_large_json_by_its_length(org, alice):
    experiment = factories.make_experiment(org)
    changes.update(experiment, org=org, actor=alice, changes={"metadata": {"a": "b" * 5_000}})
    told = AuditEvent.objects.get().after["metadata"]
    assert re.fullmatch(r"\(5,009 characters of JSON, SHA-256 [0-9a-f]{16}…\)", told)


def test_an_event_that_cannot_be_written_undoes_the_change(org, alice, monkeypatch):
    experiment = factories.make_experiment(org)
    monkeypatch.setattr(audited_changes, "record", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        changes.update(experiment, org=org, actor=alice, changes={"name": "renamed"})
    experiment.refresh_from_db()
    assert experiment.name == "Tone"
