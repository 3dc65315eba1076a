"""Append-only by the database's word, and a chain of hashes that tells what was done behind its back."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from evalsuite.audit import sealing
from evalsuite.audit.models import AuditEvent, AuditSeal, PendingEvent
from evalsuite.audit.services import Event, record, record_many
from evalsuite.audit.triggers import REFUSAL
from tests import factories


@pytest.fixture
def few(monkeypatch):
    """Three events fill a seal, and a page of the check is shorter than the log."""
    monkeypatch.setattr(sealing, "AT_ONCE", 3)
    monkeypatch.setattr("evalsuite.audit.verifying.SEALS_AT_ONCE", 2)
    monkeypatch.setattr("evalsuite.audit.verifying.EVENTS_AT_ONCE", 4)


@pytest.fixture
def log(org, alice, few):
    """Ten events in four seals, the oldest first."""
    record_many(
        Event("test.happened", org, alice, org, {"n": n}, {"text": "ä ☃", "x": 1.5}) for n in range(10)
    )
    assert sealing.seal_in_turn() == 10
    return list(AuditEvent.objects.order_by("id"))


def verify(*args):
    out = io.StringIO()
    call_command("verify_audit", *args, stdout=out)
    return out.getvalue()


def broken(*args):
    with pytest.raises(CommandError) as caught:
        verify(*args)
    return str(caught.value)


def head():
    return str(AuditSeal.objects.last())


def behind_its_back(statement, *values, table="audit_auditevent"):
    """As somebody who owns the database can: the triggers taken away first."""
    with connection.cursor() as cursor:
        for verb in ("update", "delete"):
            of_table = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER {table}_no_{verb}{of_table}")
        cursor.execute(statement, values)
        assert cursor.rowcount > 0


def as_kept(pk):
    return pk if connection.features.has_native_uuid_field else pk.hex


@pytest.mark.parametrize("table", ["audit_auditevent", "audit_auditseal"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET created_at = created_at", "DELETE FROM {}"])
def test_the_database_refuses_to_change_or_remove(log, table, statement):
    with pytest.raises(IntegrityError, match=REFUSAL), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
    assert AuditEvent.objects.count() == 10
    assert AuditSeal.objects.count() == 4


def test_orm_is_refused_as_well(log):
    with pytest.raises(IntegrityError, match=REFUSAL), transaction.atomic():
        AuditEvent.objects.update(event="nothing.happened")
    with pytest.raises(IntegrityError, match=REFUSAL), transaction.atomic():
        log[0].delete()


def test_events_outlive_their_org_and_their_actor(log, org, alice):
    pk, who = org.pk, alice.pk
    org.delete()
    alice.delete()
    kept = AuditEvent.objects.order_by("id").first()
    assert (kept.org_id, kept.actor_id, kept.actor_name) == (pk, who, "alice")
    assert "10 events in 4 seals" in verify()


def test_a_whole_log_holds(log):
    assert verify() == f"10 events in 4 seals: nothing was changed.\nHead: {head()}\n"
    assert not PendingEvent.objects.exists()


def test_an_empty_log_holds(db):
    assert verify() == "0 events in 0 seals: nothing was changed.\n"


def test_what_is_not_sealed_yet_is_told(log, org):
    record("test.happened", org=org, actor=None)
    assert "1 events are not sealed yet, the oldest since 20" in verify()


def test_chain_goes_on(log, org):
    old = head()
    record("test.happened", org=org, actor=None)
    assert sealing.seal_in_turn() == 1
    assert AuditSeal.objects.last().previous == old.partition(":")[2]
    assert "11 events in 5 seals" in verify("--expect", old)


@pytest.mark.parametrize(
    "change",
    ["actor_name = 'mallory'", "event = 'x'", "after = NULL", "before = '{\"n\": 77}'", "org_id = NULL",
     "address = '10.0.0.1'", "request_id = 'r'", "created_at = '2020-01-01 00:00:00'"],
)  # fmt: skip
def test_a_changed_event_is_named(log, change):
    victim = log[4]
    behind_its_back(f"UPDATE audit_auditevent SET {change} WHERE id = %s", as_kept(victim.pk))
    assert broken() == f"The audit log is broken: event {victim.pk} of seal 2 was changed."


def test_the_first_of_several_is_named(log):
    behind_its_back("UPDATE audit_auditevent SET actor_name = 'mallory'")
    assert f"event {log[0].pk} of seal 1 was changed" in broken()


def test_a_deleted_event_is_named(log):
    behind_its_back("DELETE FROM audit_auditevent WHERE id = %s", as_kept(log[7].pk))
    assert broken() == f"The audit log is broken: event {log[7].pk} of seal 3 is missing."


def test_a_deleted_event_that_was_not_sealed_yet_is_named(log, org):
    record("test.happened", org=org, actor=None)
    newest = AuditEvent.objects.order_by("id").last()
    behind_its_back("DELETE FROM audit_auditevent WHERE id = %s", as_kept(newest.pk))
    assert sealing.seal_in_turn() == 0
    assert broken() == f"The audit log is broken: event {newest.pk}, which was not sealed yet, is missing."


def test_an_event_slipped_in_is_named(log, org):
    """Of the right form, with the trigger taken away that would have it sealed."""
    record("test.happened", org=org, actor=None)
    forged = AuditEvent.objects.order_by("id").last()
    PendingEvent.objects.all().delete()
    assert broken() == f"The audit log is broken: event {forged.pk} is in no seal and does not wait for one."


def test_an_event_that_is_replaced_is_named(log):
    if connection.vendor != "sqlite":
        pytest.skip("REPLACE is SQLite's")
    with connection.cursor() as cursor:
        cursor.execute(
            "REPLACE INTO audit_auditevent SELECT id, created_at, 'mallory', event, object_type, object_id, "
            "before, after, address, request_id, actor_id, org_id FROM audit_auditevent WHERE id = %s",
            [log[4].pk.hex],
        )
    assert f"event {log[4].pk} of seal 2 was changed" in broken()


def test_a_deleted_seal_is_named(log):
    behind_its_back("DELETE FROM audit_auditseal WHERE number = 2", table="audit_auditseal")
    assert broken() == "The audit log is broken: seal 2 is missing."


def test_the_last_seal_deleted_leaves_its_event_outside(log):
    behind_its_back("DELETE FROM audit_auditseal WHERE number = 4", table="audit_auditseal")
    assert f"event {log[9].pk} is in no seal" in broken()


def test_a_tail_cut_off_with_its_seal_shows_to_who_kept_the_head(log):
    kept = head()
    behind_its_back("DELETE FROM audit_auditseal WHERE number = 4", table="audit_auditseal")
    behind_its_back("DELETE FROM audit_auditevent WHERE id = %s", as_kept(log[9].pk))
    assert "9 events in 3 seals: nothing was changed." in verify()
    assert broken("--expect", kept) == f"The audit log is broken: the chain does not hold the link {kept}."


@pytest.mark.parametrize(
    "change",
    ["count = 2", "created_at = '2020-01-01 00:00:00'", "digest = 'x'", "entries = substr(entries, 1, 50)",
     "first_event = last_event"],
)  # fmt: skip
def test_a_changed_seal_is_named(log, change):
    behind_its_back(f"UPDATE audit_auditseal SET {change} WHERE number = 3", table="audit_auditseal")
    assert broken() == "The audit log is broken: seal 3 was changed."


def test_a_seal_made_anew_does_not_fit_the_next(log):
    """Who changes an event and its seal must forge every seal after it too."""
    seal = AuditSeal.objects.get(number=3)
    victim = log[7]
    behind_its_back("UPDATE audit_auditevent SET actor_name = 'm' WHERE id = %s", as_kept(victim.pk))
    rows = {row[0]: row for row in sealing.rows_of([one.pk for one in log[6:9]])}
    seal.entries = b"".join(sealing.entry_of(rows[one.pk]) for one in log[6:9])
    seal.digest = sealing.digest_of(seal)
    behind_its_back(
        "UPDATE audit_auditseal SET entries = %s, digest = %s WHERE number = 3",
        seal.entries,
        seal.digest,
        table="audit_auditseal",
    )
    assert broken() == "The audit log is broken: seal 4 does not follow from the seal before it."


def test_an_older_event_that_commits_late_is_sealed(log, org, alice):
    """Its id is less than those of events that are sealed by now."""
    early = [Event("test.happened", org, alice, org)]
    with transaction.atomic():
        record_many(early)
        late = AuditEvent.objects.order_by("id").last()
        transaction.set_rollback(True)
    record("test.happened", org=org, actor=None)
    assert sealing.seal_in_turn() == 1
    late.save(force_insert=True)
    assert sealing.seal_in_turn() == 1
    assert "12 events in 6 seals" in verify()


def test_a_failed_change_leaves_no_event(org):
    with transaction.atomic():
        record("test.happened", org=org, actor=None)
        transaction.set_rollback(True)
    assert not AuditEvent.objects.exists()
    assert not PendingEvent.objects.exists()


def test_the_secret_part_of_an_event_is_not_in_its_seal(log):
    kept = b"".join(bytes(entries) for entries in AuditSeal.objects.values_list("entries", flat=True))
    assert len(kept) == 10 * sealing.ENTRY_BYTES


@pytest.mark.django_db(transaction=True)
def test_two_sealers_at_once_make_one_chain(few):
    def seal_often():
        for _ in range(12):
            sealing.seal_some()
        connection.close()

    org = factories.make_org()
    for _ in range(4):
        record_many(Event("test.happened", org, None, org) for _ in range(25))
        threads = [threading.Thread(target=seal_often) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    while sealing.seal_some():
        pass
    assert verify().startswith("100 events in ")


@pytest.mark.django_db(transaction=True)
def test_emptying_the_whole_database_is_no_deed_of_the_log(org):
    record("test.happened", org=org, actor=None)
    call_command("flush", interactive=False)
    assert not AuditEvent.objects.exists()
    org = factories.make_org()
    record("test.happened", org=org, actor=None)
    with pytest.raises(IntegrityError, match=REFUSAL):
        AuditEvent.objects.all().delete()
    assert sealing.seal_in_turn() == 1
