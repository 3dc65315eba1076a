"""Metrics, evaluators and the scores that they gave."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from evalsuite.admin import OrgForm, OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from evalsuite.admin_actions import ask, is_answered
from evalsuite.admin_lists import LongList
from evalsuite.errors import EvalsuiteError, InvalidBody
from experiments.evaluators.registry import KINDS
from experiments.models import METRIC_KEY, EvalMetricDefinition, EvalScore, Evaluator, Thumb
from experiments.services import merging, metric_definitions


class MetricForm(OrgForm):
    key = forms.CharField(max_length=64, validators=[METRIC_KEY], widget=UnfoldAdminTextInputWidget())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            scale = {name: cleaned[name] for name in metric_definitions.SCALE}
            try:
                if cleaned["key"] != self.initial.get("key"):
                    metric_definitions.require_free("key", cleaned["key"])
                metric_definitions.require_sound(EvalMetricDefinition(key=cleaned["key"], **scale))
            except InvalidBody as error:
                for name, reasons in error.fields.items():
                    self.add_error(name, reasons)
        return cleaned


class MergeForm(forms.Form):
    survivor = forms.ModelChoiceField(
        queryset=EvalMetricDefinition.objects.none(),
        label="The one that stays",
        widget=UnfoldAdminSelectWidget(),
        help_text=(
            "Scores and evaluators of the others become its own, and the others are deleted. Of several"
            " scores of one person or evaluator for a run the newest stands; the audit log keeps the older."
        ),
    )

    def __init__(self, *args: Any, metrics: QuerySet[EvalMetricDefinition], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["survivor"]
        field.queryset = metrics  # type: ignore[attr-defined]
        field.label_from_instance = _with_uses  # type: ignore[attr-defined]


def _with_uses(metric: EvalMetricDefinition) -> str:
    return f"{metric.key} ({metric.name}, {metric.scale_words})"


@admin.register(EvalMetricDefinition)
class MetricAdmin(OrgScopedAdmin):
    form = MetricForm
    list_display = ["name", "key", "org", "scale", "minimum", "maximum", "direction"]
    list_filter = ["direction", ("org", ScopedRelatedFilter)]
    search_fields = ["key", "name", "org__name"]
    autocomplete_fields = ["org"]
    list_select_related = ["org"]
    fieldsets = [
        (None, {"fields": ["org", "key", "name", "description"]}),
        ("Scale", {"fields": ["scale", "minimum", "maximum", "step", "direction", "labels"]}),
    ]
    actions = ["merge"]

    def view_on_site(self, obj: EvalMetricDefinition) -> str | None:
        return in_console("metric", obj.org, obj.pk)

    @admin.action(description="Merge metrics", permissions=["write"])
    def merge(self, request: HttpRequest, queryset: QuerySet[EvalMetricDefinition]) -> HttpResponse | None:
        """Which of them survives is asked first."""
        if not all(self.has_write_permission(request, metric) for metric in queryset):
            raise PermissionDenied
        form = MergeForm(request.POST if is_answered(request) else None, metrics=queryset)
        if form.is_valid():
            survivor = form.cleaned_data["survivor"]
            try:
                counts = merging.merge_metrics(survivor, list(queryset), actor=self.actor(request))
            except EvalsuiteError as error:
                form.add_error(None, str(error))
            else:
                told = (
                    "{scores:,} scores and {evaluators:,} evaluators moved, {superseded:,} older scores gone."
                )
                self.message_user(request, f"{survivor.key}: {told.format(**counts)}", messages.SUCCESS)
                return None
        return ask(request, self, "merge", form, queryset, title="Merge metrics", button="Merge")


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
    fieldsets = [
        (None, {"fields": ["experiment", "name", "enabled"]}),
        ("What it does", {"fields": ["kind", "config", "metric"]}),
    ]

    def view_on_site(self, obj: Evaluator) -> str | None:
        return in_console("experiment", obj.experiment.org, obj.experiment_id)


@admin.register(EvalScore)
class ScoreAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["created_at", "run", "metric", "value", "rater", "evaluator"]
    list_filter = ["created_at", ("metric", ScopedRelatedFilter)]
    search_fields = ["metric__key", "rater__username", "evaluator__name"]
    list_select_related = ["run", "metric", "rater", "evaluator"]
    fieldsets = [
        (None, {"fields": ["created_at", "run", "metric", "value", "note"]}),
        ("Given by", {"fields": ["rater", "evaluator"]}),
    ]

    def view_on_site(self, obj: EvalScore) -> str | None:
        return in_console("run", obj.run.experiment.org, obj.run_id)


@admin.register(Thumb)
class ThumbAdmin(LongList, ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["created_at", "run", "rater", "up"]
    list_filter = ["created_at", "up"]
    search_fields = ["rater__username"]
    list_select_related = ["run", "rater"]
    fieldsets = [(None, {"fields": ["created_at", "run", "rater", "up"]})]
