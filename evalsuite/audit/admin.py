"""The audit log, to read."""

from __future__ import annotations

from django.contrib import admin

from evalsuite.admin import OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter
from evalsuite.audit.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = "org:audit:read"
    list_display = ["created_at", "event", "org", "actor_name", "object_type", "object_id", "address"]
    list_filter = ["created_at", "object_type", ("org", ScopedRelatedFilter)]
    search_fields = ["event", "object_id", "actor_name", "request_id"]
    list_select_related = ["org"]
    fieldsets = [
        (None, {"fields": ["created_at", "event", "org"]}),
        ("Who", {"fields": ["actor_name", "actor", "address", "request_id"]}),
        ("What", {"fields": ["object_type", "object_id", "before", "after"]}),
    ]
