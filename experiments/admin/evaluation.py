"""Metrics, evaluators and the scores that they gave."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from evalsuite.admin import OrgForm, OrgScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter
from evalsuite.errors import EvalsuiteError, InvalidBody
from experiments.evaluators.registry import KINDS
from experiments.models import METRIC_KEY, EvalMetricDefinition, EvalScore, Evaluator, Thumb
from experiments.services import metric_definitions


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


@admin.register(EvalScore)
class ScoreAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["created_at", "run", "metric", "value", "rater", "evaluator"]
    list_filter = ["created_at", ("metric", ScopedRelatedFilter)]
    search_fields = ["metric__key", "rater__username", "evaluator__name"]
    list_select_related = ["run", "metric", "rater", "evaluator"]
    fieldsets = [
        (None, {"fields": ["created_at", "run", "metric", "value", "note"]}),
        ("Given by", {"fields": ["rater", "evaluator"]}),
    ]


@admin.register(Thumb)
class ThumbAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "run__experiment__org"
    list_display = ["created_at", "run", "rater", "up"]
    list_filter = ["created_at", "up"]
    search_fields = ["rater__username"]
    list_select_related = ["run", "rater"]
    fieldsets = [(None, {"fields": ["created_at", "run", "rater", "up"]})]
