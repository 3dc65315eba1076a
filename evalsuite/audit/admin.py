"""The audit log, to read."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import admin

from evalsuite.admin import OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from evalsuite.admin_lists import LongList
from evalsuite.audit.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
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

    def view_on_site(self, obj: AuditEvent) -> str | None:
        page = in_console("audit", obj.org) if obj.org_id else None
        return page and f"{page}?{urlencode({'object': obj.object_id})}"
