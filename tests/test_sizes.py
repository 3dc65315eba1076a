"""Pages ask the database as often with many rows as with few: counted over every route that shows any."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.routes import LEFT_OUT, MEASURED, measured, words_of
from evalsuite.orgs.models import Org
from experiments.loadtest.loading import load
from experiments.loadtest.shape import Shape
from experiments.models import Experiment
from llm_routing import gate_stores
from tests.test_urlconf import OURS, implemented, view_of

MOST_QUERIES = 15
SMALL = Shape(experiments=3, cells=24, largest=8, orgs=2, members=2, days=3)
LARGE = Shape(experiments=12, cells=560, largest=120, orgs=8, members=9, days=9)


def test_every_route_that_can_be_read_is_measured_or_left_out_for_a_reason():
    readable = {
        path for path, entry in OURS.items() if view_of(entry) is None or "get" in implemented(view_of(entry))
    }
    assert set(MEASURED) | set(LEFT_OUT) == readable
    assert not set(MEASURED) & set(LEFT_OUT)


def count_queries(client, url):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        answer = client.get(url)
        if answer.streaming:
            b"".join(answer)
    assert answer.status_code == 200, (url, answer.status_code, getattr(answer, "content", b"")[:300])
    return len(asked)


def counts(shape, slug):
    load(shape, name=slug, slug=slug, password="x", tell=lambda _: None, alongside=True)
    org = Org.objects.get(slug=slug)
    client = Client()
    client.force_login(org.memberships.order_by("id").first().user)
    experiment = Experiment.objects.for_org(org).order_by("-id").first()
    return {route.name: count_queries(client, route.url) for route in measured(words_of(experiment))}


@pytest.mark.django_db
def test_every_page_asks_a_constant_number_of_queries(monkeypatch):
    monkeypatch.setattr(gate_stores, "FRESH_S", 0)  # what a page may know of the one before, if it was quick
    few, many = counts(SMALL, "few"), counts(LARGE, "many")
    assert len(many) > len(MEASURED)
    grown = {name: (few[name], number) for name, number in many.items() if number > few[name]}
    too_many = {name: number for name, number in many.items() if number > MOST_QUERIES}
    assert (grown, too_many) == ({}, {})
