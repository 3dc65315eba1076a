"""What was tried in the playground, to read."""

from __future__ import annotations

from django.contrib import admin

from evalsuite.admin import OrgScopedAdmin, OrgScopedInline, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from evalsuite.admin_lists import LongList
from evalsuite.orgs.permissions import Permission
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession

# What others tried is for those who may read the audit log, as in the API.
READ_ALL: Permission = "org:audit:read"


@admin.register(Comparison)
class ComparisonAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = READ_ALL
    list_display = ["created_at", "org", "user", "repeats"]
    list_filter = ["created_at", ("org", ScopedRelatedFilter)]
    search_fields = ["user__username", "org__name"]
    list_select_related = ["org", "user"]
    fields = ["created_at", "org", "user", "prompt", "variables", "repeats"]


class MessageInline(ReadOnlyAdmin, OrgScopedInline):
    view_permission = write_permission = READ_ALL
    model = PlaygroundMessage
    fields = ["role", "content", "thinking", "latency_ms", "input_tokens", "output_tokens", "error_code"]


@admin.register(PlaygroundSession)
class PlaygroundSessionAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = READ_ALL
    list_display = ["created_at", "org", "user", "model_provider", "model_name", "chat_profile"]
    list_filter = ["created_at", "model_provider", ("org", ScopedRelatedFilter)]
    search_fields = ["model_name", "user__username", "org__name"]
    list_select_related = ["org", "user", "chat_profile"]
    inlines = [MessageInline]
    fieldsets = [
        (None, {"fields": ["created_at", "org", "user", "chat_profile", "comparison", "column", "repeat"]}),
        (
            "As it was sent",
            {
                "fields": [
                    "model_provider",
                    "model_name",
                    "model_digest",
                    "temperature",
                    "top_p",
                    "max_tokens",
                    "parameters",
                ]
            },
        ),
    ]

    def view_on_site(self, obj: PlaygroundSession) -> str | None:
        return in_console("playground-session", obj.org, obj.pk)


@admin.register(PlaygroundMessage)
class PlaygroundMessageAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = READ_ALL
    org_path = "session__org"
    list_display = ["created_at", "session", "role", "latency_ms", "output_tokens", "error_code"]
    list_filter = ["role", "created_at"]
    search_fields = ["error_code", "session__model_name"]
    list_select_related = ["session"]
    fieldsets = [
        (None, {"fields": ["created_at", "session", "role", "content", "thinking"]}),
        (
            "Measured",
            {
                "fields": [
                    "latency_ms",
                    "input_tokens",
                    "output_tokens",
                    "stop_reason",
                    "error_code",
                    "error_message",
                    "cold_start",
                    "may_be_cut",
                    "timings",
                ]
            },
        ),
    ]
