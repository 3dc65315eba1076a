"""The audit log, to read."""

from __future__ import annotations

from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst

from evalsuite.admin import OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from evalsuite.admin_lists import LongList
from evalsuite.audit.models import AuditEvent


class ObjectFilter(admin.SimpleListFilter):
    """By what was changed. To ask the log which kinds it tells of would read all of it."""

    title = "object"
    parameter_name = "object"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        pages = [page for page in admin.site._registry.values() if isinstance(page, OrgScopedAdmin)]
        kinds = [(page.opts.label_lower, str(capfirst(page.opts.verbose_name))) for page in pages]
        return sorted(kinds, key=itemgetter(1))

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(object_type=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = "org:audit:read"
    list_display = ["created_at", "event", "org", "actor_name", "object_type", "object_id", "address"]
    list_filter = ["created_at", ObjectFilter, ("org", ScopedRelatedFilter)]
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
