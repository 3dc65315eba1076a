"""What each org may use, and what it has used."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models, transaction
from django.http import HttpRequest

from evalsuite.admin import OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from evalsuite.admin_lists import LongList
from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.quotas.hooks import limits_changed
from evalsuite.quotas.limits import FIELDS
from evalsuite.quotas.models import OrgLimits, UsageCounter, UsageRecord


@admin.register(OrgLimits)
class OrgLimitsAdmin(OrgScopedAdmin):
    """Superusers set limits; who runs an org sees them and cannot raise their own."""

    view_permission = write_permission = "org:usage:read"
    list_display = ["org", *FIELDS]
    list_filter = [("org", ScopedRelatedFilter)]
    search_fields = ["org__name"]
    list_select_related = ["org"]
    autocomplete_fields = ["org"]
    fieldsets = [
        (None, {"fields": ["org"]}),
        ("Calls to models", {"fields": ["requests_per_minute", "tokens_per_day", "tokens_per_month"]}),
        ("Experiments", {"fields": ["parallel_cells", "cells_per_batch"]}),
        ("Playground", {"fields": ["playground_per_minute"]}),
    ]

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_add_permission(request)

    def view_on_site(self, obj: OrgLimits) -> str | None:
        return in_console("usage", obj.org)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["org"] if obj else []

    def save_model(self, request: HttpRequest, obj: OrgLimits, form: Any, change: bool) -> None:
        """The event tells the numbers themselves: who allowed what, and what was allowed before."""
        before = OrgLimits.objects.filter(pk=obj.pk).first() if change else None
        names = list(FIELDS)
        old, new = changes.told(before, names) if before else None, changes.told(obj, names)
        if old == new:
            return
        with transaction.atomic():
            obj.save()
            record(
                "admin.orglimits.changed" if change else "admin.orglimits.created",
                org=obj.org,
                actor=self.actor(request),
                subject=obj,
                before=old,
                after=new,
            )
            limits_changed(obj.org)

    def delete_model(self, request: HttpRequest, obj: OrgLimits) -> None:
        with transaction.atomic():
            super().delete_model(request, obj)
            limits_changed(obj.org)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[OrgLimits]) -> None:
        with transaction.atomic():
            for limits in queryset:
                self.delete_model(request, limits)


@admin.register(UsageRecord)
class UsageRecordAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = "org:usage:read"
    list_display = [
        "created_at",
        "org",
        "kind",
        "state",
        "model_provider",
        "model_name",
        "input_tokens",
        "output_tokens",
    ]
    list_filter = ["kind", "state", "day", ("org", ScopedRelatedFilter)]
    search_fields = ["model_provider", "model_name", "org__name"]
    list_select_related = ["org"]
    fieldsets = [
        (None, {"fields": ["created_at", "org", "kind", "state", "day", "model_provider", "model_name"]}),
        ("Usage", {"fields": ["reserved_tokens", "input_tokens", "output_tokens"]}),
        ("Call", {"fields": ["attempt", "user_id", "experiment_id"]}),
    ]


@admin.register(UsageCounter)
class UsageCounterAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    view_permission = write_permission = "org:usage:read"
    list_display = ["month", "org", "calls", "tokens", "reserved_calls", "reserved_tokens"]
    list_filter = [("org", ScopedRelatedFilter)]
    search_fields = ["org__name"]
    list_select_related = ["org"]
    date_hierarchy = "month"
    ordering = ["-month", "org_id"]
