"""What was tried in the playground leaves again, by itself and by hand."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from evalsuite import periodic
from evalsuite.audit.models import AuditEvent
from experiments.models.runs import SweepTurn
from experiments.services import sweeping
from playground import retention
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession

pytestmark = pytest.mark.django_db


def make_session(org, user, *, days, last_said=None, **fields):
    then = timezone.now() - timedelta(days=days)
    session = PlaygroundSession.objects.create(
        org=org, user=user, model_name="m", temperature=0.7, top_p=1, created_at=then, **fields
    )
    for at in {days, days if last_said is None else last_said}:
        moment = timezone.now() - timedelta(days=at)
        PlaygroundMessage.objects.create(session=session, role="user", content="hi", created_at=moment)
    return session


def test_sessions_leave_after_thirty_days_with_their_messages(org, alice):
    make_session(org, alice, days=31)
    kept = make_session(org, alice, days=29)
    assert retention.purge() == 1
    assert list(PlaygroundSession.objects.all()) == [kept]
    assert PlaygroundMessage.objects.count() == 1


def test_a_session_that_was_gone_on_with_stays(org, alice):
    make_session(org, alice, days=100, last_said=3)
    assert retention.purge() == 0


def test_a_comparison_leaves_with_its_last_session(org, alice):
    then = timezone.now() - timedelta(days=40)
    gone, kept = (
        Comparison.objects.create(org=org, user=alice, prompt="hi", created_at=then) for _ in range(2)
    )
    make_session(org, alice, days=40, comparison=gone)
    make_session(org, alice, days=40, comparison=kept)
    make_session(org, alice, days=40, last_said=1, comparison=kept)
    Comparison.objects.create(org=org, user=alice, prompt="just now")
    assert retention.purge() == 2
    assert sorted(Comparison.objects.values_list("prompt", flat=True)) == ["hi", "just now"]


def test_the_number_of_days_is_a_setting_and_0_keeps_all(org, alice, settings):
    make_session(org, alice, days=8)
    settings.PLAYGROUND_RETENTION_DAYS = 0
    assert retention.purge() == 0
    settings.PLAYGROUND_RETENTION_DAYS = 7
    assert retention.purge() == 1


def test_many_leave_in_groups_and_each_org_is_told(org, alice, charlie, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    elsewhere = charlie.memberships.get().org
    for _ in range(3):
        make_session(org, alice, days=50)
    make_session(elsewhere, charlie, days=40)
    assert retention.purge() == 4
    told = AuditEvent.objects.filter(event="playground.purged")
    assert {event.actor for event in told} == {None}
    assert sum(event.after["sessions"] for event in told.filter(org=org)) == 3
    assert sum(event.after["sessions"] for event in told.filter(org=elsewhere)) == 1


def everything_is_due(but=""):
    SweepTurn.objects.exclude(name=but).update(due_at=timezone.now() - timedelta(seconds=1))


def test_the_command_says_how_many(org, alice):
    make_session(org, alice, days=8)
    said = StringIO()
    call_command("purge_playground", days=7, stdout=said)
    assert said.getvalue() == "1 sessions removed\n"
    with pytest.raises(CommandError, match="0 or more"):
        call_command("purge_playground", days=-1)


def test_the_sweeper_purges_once_an_hour(org, alice):
    assert "playground.purge" in [job.name for job in periodic.jobs()]
    make_session(org, alice, days=31)
    sweeping.sweep_in_turn()
    assert not PlaygroundSession.objects.exists()
    make_session(org, alice, days=31)
    everything_is_due(but="playground.purge")
    sweeping.sweep_in_turn()
    assert PlaygroundSession.objects.count() == 1  # another process has just had this turn
    everything_is_due()
    sweeping.sweep_in_turn()
    assert not PlaygroundSession.objects.exists()


def test_a_job_that_breaks_has_its_next_turn_and_no_other_suffers(monkeypatch):
    done = []
    monkeypatch.setattr(periodic, "_jobs", {})
    periodic.register("breaks", lambda: 1 / 0, every_s=0)
    periodic.register("works", lambda: done.append(1), every_s=0)
    for _ in range(2):
        everything_is_due()
        sweeping.sweep_in_turn()
    assert done == [1, 1]
