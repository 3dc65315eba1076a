"""Events that a test has made, to count and to forget."""

from __future__ import annotations

from django.core.management.color import no_style
from django.db import connection

from evalsuite.audit.models import AuditEvent


def forget_events():
    """Empty the log, as the database's owner can: what prepares a test is not what it is about."""
    tables = ["audit_auditevent", "audit_pendingevent", "audit_auditseal"]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables))


def names_of_events():
    return list(AuditEvent.objects.order_by("id").values_list("event", flat=True))
