"""Thumbs that were given before people's were kept apart are given back to those who gave them."""

from __future__ import annotations

from importlib import import_module

from django.apps import apps

from evalsuite.audit.services import record
from experiments.models import Thumb
from tests import factories

MIGRATION = import_module("experiments.migrations.0005_whose_thumbs")


def rated(org, *said):
    """A run with its thumb and its events, as they were written before; the last of `said` is its thumb."""
    run = factories.make_run(factories.make_experiment(org, inputs=1, variants=1), thumbs_up=said[-1][1])
    before = None
    for actor, up in said:
        record(
            "experiment.feedback.updated",
            org=org,
            actor=actor,
            subject=run,
            before={"thumbsUp": before},
            after={"thumbsUp": up},
        )
        before = up
    return run


def test_whoever_set_it_last_gets_it(org, alice):
    bob = factories.make_user("bob", org=org)
    runs = [rated(org, (bob, True), (alice, False)), rated(org, (alice, False), (bob, True))]
    unrated, of_nobody = rated(org, (alice, None)), rated(org, (None, True))
    MIGRATION.give_thumbs_their_raters(apps, None)
    MIGRATION.give_thumbs_their_raters(apps, None)
    given = [(thumb.run, thumb.rater, thumb.up) for thumb in Thumb.objects.order_by("run_id")]
    assert given == [(runs[0], alice, False), (runs[1], bob, True)]
    assert not Thumb.objects.filter(run__in=[unrated, of_nobody]).exists()
