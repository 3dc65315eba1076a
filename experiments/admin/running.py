"""Batches, their cells and every call that was made: to read."""

from __future__ import annotations

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from evalsuite.admin import OrgScopedAdmin, OrgScopedInline, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from evalsuite.admin_lists import LongList
from experiments.models import Batch, EvalScore, ExperimentRun, RunAttempt
from experiments.services import steering


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "experiment__org"
    list_display = ["created_at", "experiment", "author", "state", "total", "finished_at"]
    list_filter = ["state", "created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["experiment__name"]
    list_select_related = ["experiment__org", "author"]
    actions = ["cancel", "retry_failed"]
    readonly_fields = ["cells"]
    fieldsets = [
        (None, {"fields": ["experiment", "author", "state", "cells"]}),
        ("Plan", {"fields": ["total", "repeats", "parallel"]}),
        ("Times", {"fields": ["created_at", "started_at", "finished_at", "permits_due_at"]}),
    ]

    def view_on_site(self, obj: Batch) -> str | None:
        page = in_console("experiment", obj.experiment.org, obj.experiment_id)
        return page and f"{page}?batch={obj.pk}"

    @admin.display(description="Cells")
    def cells(self, row: Batch) -> str:
        states = row.runs.values_list("state").annotate(count=models.Count("pk")).order_by("state")
        return ", ".join(f"{count:,} {state}" for state, count in states)

    @admin.action(description="Cancel batch", permissions=["write"])
    def cancel(self, request: HttpRequest, queryset: models.QuerySet[Batch]) -> None:
        def work(batch: Batch) -> str:
            steering.cancel(batch, actor=self.actor(request))
            return "cancelled."

        self.act(request, queryset, work)

    @admin.action(description="Retry failed cells", permissions=["write"])
    def retry_failed(self, request: HttpRequest, queryset: models.QuerySet[Batch]) -> None:
        def work(batch: Batch) -> str:
            count = steering.retry_failed(batch, actor=self.actor(request))
            return f"{count:,} {'cell' if count == 1 else 'cells'} queued again."

        self.act(request, queryset, work)


class AttemptInline(ReadOnlyAdmin, OrgScopedInline):
    model = RunAttempt
    fields = ["number", "worker", "started_at", "ended_at", "outcome", "error_code"]


class ScoreInline(ReadOnlyAdmin, OrgScopedInline):
    model = EvalScore
    fields = ["metric", "value", "note", "rater", "evaluator", "created_at"]
    readonly_fields = ["created_at"]
    list_select_related = ("metric", "rater", "evaluator")


@admin.register(ExperimentRun)
class RunAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "experiment__org"
    list_display = ["created_at", "experiment", "variant", "input", "state", "model_name", "latency_ms"]
    list_filter = ["state", "created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["model_name", "error_code", "experiment__name", "input__key"]
    list_select_related = ["experiment", "variant", "input"]
    inlines = [ScoreInline, AttemptInline]
    fieldsets = [
        (None, {"fields": ["experiment", "batch", "variant", "input", "repeat", "state"]}),
        ("Answer", {"fields": ["output", "thinking", "tool_calls", "stop_reason", "may_be_cut"]}),
        ("Feedback", {"fields": ["thumbs_up", "feedback_note", "evaluation_notes"]}),
        ("Error", {"fields": ["error_code", "error_message", "attempt", "retries", "crashes", "not_before"]}),
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
                    "messages",
                    "snapshot",
                ]
            },
        ),
        (
            "Measured",
            {
                "fields": [
                    "latency_ms",
                    "queue_ms",
                    "provider_wait_ms",
                    "load_ms",
                    "prompt_ms",
                    "first_token_ms",
                    "decode_ms",
                    "tokens_per_second",
                    "cold_start",
                    "input_tokens",
                    "output_tokens",
                ]
            },
        ),
        ("Times", {"fields": ["created_at", "started_at", "finished_at", "lease_until"]}),
    ]

    def view_on_site(self, obj: ExperimentRun) -> str | None:
        return in_console("run", obj.experiment.org, obj.pk)


@admin.register(RunAttempt)
class AttemptAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["started_at", "run", "number", "worker", "outcome", "error_code"]
    list_filter = ["outcome", "started_at"]
    search_fields = ["worker", "error_code"]
    list_select_related = ["run"]
    fieldsets = [
        (None, {"fields": ["run", "number", "worker", "started_at", "ended_at"]}),
        ("Outcome", {"fields": ["outcome", "error_code", "error_message"]}),
    ]
