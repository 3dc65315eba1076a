"""The queue of evaluations: to read."""

from __future__ import annotations

from django.contrib import admin

from evalsuite.admin import OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter
from evalsuite.admin_lists import LongList
from experiments.models import Evaluation


@admin.register(Evaluation)
class EvaluationAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "evaluator__experiment__org"
    list_display = ["created_at", "evaluator", "run", "state", "retries", "finished_at"]
    list_filter = ["state", "created_at", ("evaluator", ScopedRelatedFilter)]
    search_fields = ["evaluator__name", "reason"]
    list_select_related = ["evaluator", "run"]
    fieldsets = [
        (None, {"fields": ["evaluator", "run", "batch", "state", "reason", "requested_by"]}),
        ("Attempts", {"fields": ["attempt", "retries", "crashes", "asked_again", "call"]}),
        ("Times", {"fields": ["created_at", "not_before", "lease_until", "finished_at"]}),
    ]
