"""Experiments and their variants."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models, transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from evalsuite.admin import OrgForm, OrgScopedAdmin, OrgScopedInline, ScopedRelatedFilter, in_console
from experiments.admin.tags import TagsMixin
from experiments.api.config import ConfigKeys
from experiments.models import Experiment, ExperimentVariant
from experiments.services import authoring, planning

KEYS_SHOWN = 5


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
    list_select_related = ("experiment__org", "chat_profile__org")
    show_change_link = True


@admin.register(Experiment)
class ExperimentAdmin(TagsMixin, OrgScopedAdmin):
    list_display = ["name", "org", "type", "tags", "created_by", "created_at"]
    list_filter = ["type", "created_at", ("org", ScopedRelatedFilter)]
    search_fields = ["name", "description", "org__name", "metadata__tags"]
    autocomplete_fields = ["org"]
    list_select_related = ["org", "created_by"]
    readonly_fields = ["test_set", "results", "created_by", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["org", "name", "description", "test_set", "results"]}),
        ("More", {"fields": ["type", "metadata"]}),
        ("Record", {"fields": ["created_by", "created_at", "updated_at"]}),
    ]
    inlines = [VariantInline]
    actions = ["run", "duplicate", "edit_tags"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return super().get_fieldsets(request, obj)
        return [
            (None, {"fields": ["org", "name", "description"]}),
            ("More", {"fields": ["type", "metadata"]}),
        ]

    def view_on_site(self, obj: Experiment) -> str | None:
        return in_console("experiment", obj.org, obj.pk)

    @admin.display(description="Inputs")
    def test_set(self, row: Experiment) -> SafeString:
        keys = list(row.inputs.order_by("id").values_list("key", flat=True)[:KEYS_SHOWN])
        count = row.inputs.count()
        first = ", ".join(keys) + (", …" if count > len(keys) else "")
        return format_html(
            '<a class="underline" href="{}?experiment__id__exact={}">{}</a> {} · '
            '<a class="underline" href="{}?experiment={}">Import a file</a>',
            reverse("admin:experiments_experimentinput_changelist"),
            row.pk,
            f"{count:,} {'input' if count == 1 else 'inputs'}",
            f"({first})" if keys else "",
            reverse("admin:experiments_experimentinput_import"),
            row.pk,
        )

    @admin.display(description="Runs")
    def results(self, row: Experiment) -> SafeString:
        return format_html(
            '<a class="underline" href="{}?experiment__id__exact={}">{} runs</a>',
            reverse("admin:experiments_experimentrun_changelist"),
            row.pk,
            f"{row.runs.count():,}",
        )

    def save_model(self, request: HttpRequest, obj: Experiment, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = self.actor(request)
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Experiment) -> None:
        authoring.delete_experiment(obj, actor=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Experiment]) -> None:
        with transaction.atomic():
            for experiment in queryset:
                self.delete_model(request, experiment)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[str], Any]:
        """Counted, not listed: an experiment may have a million runs. The service decides."""
        may_not = {"experiment" for row in objs if not self.has_delete_permission(request, row)}
        names = ("input_count", "variant_count", "run_count")
        rows = Experiment.objects.filter(pk__in=[row.pk for row in objs]).with_counts().values("name", *names)
        told = [
            "{name}: {input_count:,} inputs, {variant_count:,} variants, {run_count:,} runs".format(**row)
            for row in rows
        ]
        sums = {name.replace("_count", "s"): sum(row[name] for row in rows) for name in names}
        counts = {"experiments": len(told), **sums}
        return told, counts, may_not, []

    @admin.action(description="Run experiment", permissions=["write"])
    def run(self, request: HttpRequest, queryset: models.QuerySet[Experiment]) -> None:
        def work(experiment: Experiment) -> str:
            batch = planning.start_batch(experiment=experiment, author=self.actor(request))
            return f"{batch.total:,} cells queued."

        self.act(request, queryset, work)

    @admin.action(description="Duplicate without results", permissions=["write"])
    def duplicate(self, request: HttpRequest, queryset: models.QuerySet[Experiment]) -> None:
        def work(experiment: Experiment) -> str:
            with transaction.atomic():
                return f"{self._copy(request, experiment)} was made."

        self.act(request, queryset, work)

    def _copy(self, request: HttpRequest, old: Experiment) -> Experiment:
        author = self.actor(request)
        new = authoring.create_experiment(
            org=old.org,
            author=author,
            name=f"{old.name[:248]} (copy)",
            description=old.description,
            type=old.type,
            metadata=old.metadata,
        )
        for variant in old.variants.all():
            names = ("name", "description", "chat_profile", "system_prompt", "config")
            fields = {name: getattr(variant, name) for name in names}
            authoring.create_variant(experiment=new, author=author, **fields)
        if rows := list(old.inputs.order_by("id").values("key", "content", "expected", "metadata")):
            authoring.add_inputs(experiment=new, author=author, rows=rows)
        for evaluator in old.evaluators.select_related("metric"):
            authoring.create_evaluator(
                experiment=new,
                author=author,
                kind=evaluator.kind,
                metric_key=evaluator.metric.key,
                name=evaluator.name,
                config=evaluator.config,
                enabled=evaluator.enabled,
            )
        return new


@admin.register(ExperimentVariant)
class VariantAdmin(OrgScopedAdmin):
    form = VariantForm
    org_path = "experiment__org"
    list_display = ["name", "experiment", "chat_profile", "created_at"]
    list_filter = ["created_at", ("experiment", ScopedRelatedFilter)]
    search_fields = ["name", "experiment__name"]
    autocomplete_fields = ["experiment", "chat_profile"]
    list_select_related = ["experiment__org", "chat_profile"]
    fieldsets = [
        (None, {"fields": ["experiment", "name", "description"]}),
        ("Prompt and settings", {"fields": ["chat_profile", "system_prompt", "config"]}),
    ]

    def view_on_site(self, obj: ExperimentVariant) -> str | None:
        return in_console("experiment", obj.experiment.org, obj.experiment_id)
