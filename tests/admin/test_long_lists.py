"""Lists that may have millions of rows cost no more than their newest ones."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.db import models
from unfold.paginator import InfinitePaginator

from evalsuite.admin_lists import LongList
from evalsuite.audit.models import AuditEvent
from evalsuite.audit.services import record
from evalsuite.orgs.models import User
from evalsuite.quotas.models import UsageRecord
from experiments.models import EvalScore, Evaluation, ExperimentInput, ExperimentRun, RunAttempt, Thumb
from playground.models import PlaygroundMessage
from tests import factories
from tests.admin.helpers import url

LONG = {
    AuditEvent,
    UsageRecord,
    ExperimentInput,
    ExperimentRun,
    RunAttempt,
    EvalScore,
    Thumb,
    Evaluation,
    PlaygroundMessage,
}


@pytest.fixture
def cells(experiment):
    """From the newest to the oldest; the oldest one alone is of the model `old`."""
    for n in range(5):
        factories.make_run(experiment, repeat=n + 1, latency_ms=10 * n)
    found = list(ExperimentRun.objects.order_by("-pk"))
    ExperimentRun.objects.filter(pk=found[-1].pk).update(model_name="old")
    return found


@pytest.fixture
def short(monkeypatch):
    page = admin.site._registry[ExperimentRun]
    monkeypatch.setattr(page, "searched", 3)
    monkeypatch.setattr(page, "counted", 3)


def listed(client, **query):
    answer = client.get(url(ExperimentRun, "changelist"), query)
    assert answer.status_code == 200
    return answer.context["cl"]


def test_whatever_has_a_row_for_each_cell_call_or_event_is_long_and_its_ids_grow_with_time():
    found = {model for model, page in admin.site._registry.items() if isinstance(page, LongList)}
    assert found == LONG
    assert all(isinstance(model._meta.pk, models.UUIDField) for model in found)


def test_a_short_one_is_counted(root, cells):
    shown = listed(root)
    assert (shown.result_count, list(shown.result_list)) == (len(cells), cells)


def test_a_longer_one_goes_page_by_page_uncounted(root, cells, short, monkeypatch):
    monkeypatch.setattr(admin.site._registry[ExperimentRun], "list_per_page", 2)
    pages = [listed(root, p=number) for number in (1, 2, 3)]
    assert [row for page in pages for row in page.result_list] == cells
    assert all(isinstance(page.paginator, InfinitePaginator) for page in pages)
    text = root.get(url(ExperimentRun, "changelist")).content.decode()
    assert "p=2" in text
    assert "9999999999" not in text


def test_a_search_looks_at_the_newest(root, cells, short):
    assert list(listed(root, q="old").result_list) == []
    assert "Search the newest 3, or an id" in root.get(url(ExperimentRun, "changelist")).content.decode()


def test_all_of_a_counted_list_can_be_chosen_and_no_more(root, experiment, monkeypatch):
    page = admin.site._registry[ExperimentInput]
    monkeypatch.setattr(page, "list_per_page", 1)
    whole = root.get(url(ExperimentInput, "changelist")).content.decode()
    assert re.search(r"Select all \d+ inputs", whole)
    monkeypatch.setattr(page, "counted", 1)
    assert not re.search(r"Select all \d", root.get(url(ExperimentInput, "changelist")).content.decode())


def test_a_search_looks_at_the_newest_of_those_that_the_filters_leave(root, cells, short):
    ExperimentRun.objects.filter(pk=cells[-1].pk).update(state="failed")
    assert list(listed(root, q="old", state__exact="failed").result_list) == [cells[-1]]


def test_a_whole_id_is_found_wherever_it_is(root, cells, short):
    assert list(listed(root, q=f" {cells[-1].pk} ").result_list) == [cells[-1]]


def test_an_id_of_another_org_is_not_found(signed_in, cells, foreign):
    theirs = ExperimentRun.objects.filter(experiment=foreign).first()
    client = signed_in("owner")
    assert list(listed(client, q=str(theirs.pk)).result_list) == []
    assert list(listed(client, q=str(cells[0].pk)).result_list) == [cells[0]]


def test_sorted_are_the_newest(root, cells, short):
    column = admin.site._registry[ExperimentRun].list_display.index("latency_ms")
    shown = [row.latency_ms for row in listed(root, o=str(column)).result_list]
    assert shown == sorted(row.latency_ms for row in cells[:3])


@pytest.mark.parametrize("query", [{}, {"o": "1"}])
def test_a_file_of_inputs_has_all_of_them_and_in_their_order(root, rf, experiment, monkeypatch, query):
    page = admin.site._registry[ExperimentInput]
    monkeypatch.setattr(page, "searched", 1)
    request = rf.get(url(ExperimentInput, "export"), query)
    request.user = User.objects.get(username="root")
    assert list(page.get_export_queryset(request)) == list(experiment.inputs.order_by("pk"))


def test_the_log_by_what_was_changed(root, experiment):
    record("test.changed", org=experiment.org, actor=None, subject=experiment)
    answer = root.get(url(AuditEvent, "changelist"), {"object": "experiments.experiment"})
    shown = answer.context["cl"].result_list
    assert {event.object_type for event in shown} == {"experiments.experiment"}
    assert shown[0].object_id == str(experiment.pk)
    assert AuditEvent.objects.exclude(object_type="experiments.experiment").exists()
