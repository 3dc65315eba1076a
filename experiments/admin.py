"""Experiments, their test sets and variants to edit; what was run, to read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from import_export.admin import ImportExportMixin
from unfold.contrib.import_export.forms import ExportForm
from unfold.widgets import UnfoldAdminSelectWidget

from evalsuite.admin import (
    OrgForm,
    OrgScopedAdmin,
    OrgScopedInline,
    ReadOnlyAdmin,
    ScopedRelatedFilter,
    org_ids,
)
from evalsuite.errors import EvalsuiteError
from experiments.api.config import ConfigKeys
from experiments.datasets.formats import FORMATS
from experiments.datasets.forms import InputImportForm
from experiments.datasets.resources import InputResource
from experiments.evaluators.registry import KINDS
from experiments.models import (
    Batch,
    EvalMetricDefinition,
    EvalScore,
    Evaluator,
    Experiment,
    ExperimentInput,
    ExperimentRun,
    ExperimentVariant,
    RunAttempt,
)
from experiments.services import planning, steering


class VariantForm(OrgForm):
    def clean(self) -> dict[str, Any]:
        """The settings that reach a model are checked as the API checks them."""
        cleaned = super().clean() or {}
        keys = ConfigKeys(data=cleaned.get("config"))
        if isinstance(cleaned.get("config"), dict) and not keys.is_valid():
            for name, reasons in keys.errors.items():
                self.add_error("config", f"{name}: {reasons}")
        return cleaned


class VariantInline(OrgScopedInline):
    form = VariantForm
    model = ExperimentVariant
    fields = ["name", "chat_profile", "system_prompt", "config"]
    autocomplete_fields = ["chat_profile"]
    show_change_link = True


@admin.register(Experiment)
class ExperimentAdmin(OrgScopedAdmin):
    list_display = ["name", "org", "type", "created_by", "created_at"]
    list_filter = ["type", "created_at", ("org", ScopedRelatedFilter)]
    search_fields = ["name", "description", "org__name"]
    autocomplete_fields = ["org"]
    exclude = ["created_by"]
    list_select_related = ["org", "created_by"]
    inlines = [VariantInline]
    actions = ["run"]

    def save_model(self, request: HttpRequest, obj: Experiment, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)

    @admin.action(description="Run experiment", permissions=["write"])
    def run(self, request: HttpRequest, queryset: models.QuerySet[Experiment]) -> None:
        def work(experiment: Experiment) -> str:
            batch = planning.start_batch(experiment=experiment, author=request.user)  # type: ignore[arg-type]
            return f"{batch.total:,} cells queued."

        self.act(request, queryset, work)


@admin.register(ExperimentVariant)
class VariantAdmin(OrgScopedAdmin):
    form = VariantForm
    org_path = "experiment__org"
    list_display = ["name", "experiment", "chat_profile", "created_at"]
    list_filter = ["created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["name", "experiment__name"]
    autocomplete_fields = ["experiment", "chat_profile"]
    list_select_related = ["experiment__org", "chat_profile"]


@admin.register(ExperimentInput)
class InputAdmin(ImportExportMixin, OrgScopedAdmin):  # type: ignore[misc]
    org_path = "experiment__org"
    list_display = ["key", "experiment", "start", "created_at"]
    list_filter = ["created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["key", "content", "experiment__name"]
    autocomplete_fields = ["experiment"]
    list_select_related = ["experiment__org"]

    resource_classes = [InputResource]
    formats = FORMATS
    import_form_class = InputImportForm
    export_form_class = ExportForm
    skip_import_confirm = True  # a file is taken whole or not at all

    @admin.display(description="Content")
    def start(self, row: ExperimentInput) -> str:
        return f"{row.content[:80]}…" if len(row.content) > 80 else row.content

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_import_formats(self) -> list[Any]:
        return [kind for kind in FORMATS if kind().can_import()]

    def get_export_formats(self) -> list[Any]:
        return FORMATS

    def get_import_form_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        experiments = Experiment.objects.select_related("org")
        if not request.user.is_superuser:
            experiments = experiments.filter(org__in=org_ids(request, self.write_permission))
        return {**super().get_import_form_kwargs(request), "experiments": experiments}

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.get("form")
        chosen = getattr(form, "cleaned_data", {}).get("experiment")
        return {"experiment": chosen, "author": request.user}

    def add_data_read_fail_error_to_form(self, form: forms.Form, e: Exception) -> None:
        if isinstance(e, EvalsuiteError):
            form.add_error("import_file", str(e))
        else:
            super().add_data_read_fail_error_to_form(form, e)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "experiment__org"
    list_display = ["created_at", "experiment", "author", "state", "total", "finished_at"]
    list_filter = ["state", "created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["experiment__name"]
    list_select_related = ["experiment__org", "author"]
    actions = ["cancel", "retry_failed"]

    @admin.action(description="Cancel batch", permissions=["write"])
    def cancel(self, request: HttpRequest, queryset: models.QuerySet[Batch]) -> None:
        def work(batch: Batch) -> str:
            steering.cancel(batch, actor=request.user)  # type: ignore[arg-type]
            return "cancelled."

        self.act(request, queryset, work)

    @admin.action(description="Retry failed cells", permissions=["write"])
    def retry_failed(self, request: HttpRequest, queryset: models.QuerySet[Batch]) -> None:
        def work(batch: Batch) -> str:
            return f"{steering.retry_failed(batch, actor=request.user):,} cells queued again."  # type: ignore[arg-type]

        self.act(request, queryset, work)


class AttemptInline(ReadOnlyAdmin, OrgScopedInline):
    model = RunAttempt
    fields = ["number", "worker", "started_at", "ended_at", "outcome", "error_code"]


@admin.register(ExperimentRun)
class RunAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "experiment__org"
    list_display = ["created_at", "experiment", "variant", "input", "state", "model_name", "latency_ms"]
    list_filter = ["state", "created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["model_name", "error_code", "experiment__name", "input__key"]
    list_select_related = ["experiment", "variant", "input"]
    inlines = [AttemptInline]


@admin.register(RunAttempt)
class AttemptAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["started_at", "run", "number", "worker", "outcome", "error_code"]
    list_filter = ["outcome", "started_at"]
    search_fields = ["worker", "error_code"]
    list_select_related = ["run"]
    ordering = ["-started_at", "id"]


@admin.register(EvalMetricDefinition)
class MetricAdmin(OrgScopedAdmin):
    list_display = ["name", "key", "org", "scale", "minimum", "maximum", "direction"]
    list_filter = ["direction", ("org", ScopedRelatedFilter)]
    search_fields = ["key", "name", "org__name"]
    autocomplete_fields = ["org"]
    list_select_related = ["org"]


class EvaluatorForm(OrgForm):
    kind = forms.ChoiceField(choices=lambda: [(kind, KINDS[kind].title) for kind in KINDS])
    kind.widget = UnfoldAdminSelectWidget(choices=kind.choices)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        config = cleaned.get("config")
        if "kind" in cleaned and isinstance(config, dict):
            try:
                KINDS[cleaned["kind"]].validate(config)
            except EvalsuiteError as error:
                self.add_error("config", str(error))
        return cleaned


@admin.register(Evaluator)
class EvaluatorAdmin(OrgScopedAdmin):
    form = EvaluatorForm
    org_path = "experiment__org"
    list_display = ["name", "kind", "experiment", "metric", "enabled"]
    list_filter = ["kind", "enabled", ("experiment", ScopedRelatedFilter)]
    search_fields = ["name", "kind", "experiment__name"]
    autocomplete_fields = ["experiment", "metric"]
    list_select_related = ["experiment__org", "metric"]


@admin.register(EvalScore)
class ScoreAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["created_at", "run", "metric", "value", "rater", "evaluator"]
    list_filter = ["created_at", ("metric", ScopedRelatedFilter)]
    search_fields = ["metric__key", "rater__username", "evaluator__name"]
    list_select_related = ["run", "metric", "rater", "evaluator"]
