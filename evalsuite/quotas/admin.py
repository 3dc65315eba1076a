"""What each org has used, to read."""

from __future__ import annotations

from django.contrib import admin

from evalsuite.admin import OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter
from evalsuite.quotas.models import UsageCounter, UsageRecord


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    list_display = [
        "created_at",
        "org",
        "kind",
        "model_provider",
        "model_name",
        "input_tokens",
        "output_tokens",
    ]
    list_filter = ["kind", "created_at", ("org", ScopedRelatedFilter)]
    search_fields = ["model_provider", "model_name", "org__name"]
    list_select_related = ["org"]
    ordering = ["-id"]
    fieldsets = [
        (None, {"fields": ["created_at", "org", "kind", "model_provider", "model_name"]}),
        ("Usage", {"fields": ["input_tokens", "output_tokens", "attempt"]}),
    ]


@admin.register(UsageCounter)
class UsageCounterAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    list_display = ["day", "org", "calls", "tokens"]
    list_filter = [("org", ScopedRelatedFilter)]
    search_fields = ["org__name"]
    list_select_related = ["org"]
    date_hierarchy = "day"
    ordering = ["-day", "org_id"]
