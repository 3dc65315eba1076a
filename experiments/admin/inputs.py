"""The test sets, with files in and out."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from evalsuite.admin import OrgScopedAdmin, ScopedRelatedFilter, in_console, org_ids
from evalsuite.admin_lists import LongList
from experiments.admin.tags import TagsMixin
from experiments.datasets.importing import InputFilesMixin
from experiments.models import Experiment, ExperimentInput


@admin.register(ExperimentInput)
class InputAdmin(LongList, InputFilesMixin, TagsMixin, OrgScopedAdmin):
    counted = searched = 100_000  # those of one experiment are to be found, and changed together
    ordering = ["pk"]  # as in the experiment, and so in a file that is to be imported again
    org_path = "experiment__org"
    list_display = ["key", "experiment", "start", "tags", "created_at"]
    list_filter = ["created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["key", "content", "experiment__name", "metadata__tags"]
    actions = ["edit_tags"]
    autocomplete_fields = ["experiment"]
    list_select_related = ["experiment__org"]
    fieldsets = [
        (None, {"fields": ["experiment", "key", "content"]}),
        ("Reference", {"fields": ["expected", "metadata"]}),
    ]

    @admin.display(description="Content")
    def start(self, row: ExperimentInput) -> str:
        return f"{row.content[:80]}…" if len(row.content) > 80 else row.content

    def view_on_site(self, obj: ExperimentInput) -> str | None:
        return in_console("experiment", obj.experiment.org, obj.experiment_id)

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def writable_experiments(self, request: HttpRequest) -> QuerySet[Experiment]:
        experiments = Experiment.objects.select_related("org")
        if request.user.is_superuser:
            return experiments
        return experiments.filter(org__in=org_ids(request, self.write_permission))
