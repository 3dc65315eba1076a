"""The admin's menu: groups of pages, each shown to those who may open it."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

# Group -> (model, icon)
GROUPS = {
    "Experiments": [
        ("experiments.Experiment", "science"),
        ("experiments.ExperimentInput", "dataset"),
        ("experiments.ExperimentVariant", "alt_route"),
        ("experiments.Batch", "play_circle"),
        ("experiments.ExperimentRun", "grid_on"),
        ("experiments.RunAttempt", "replay"),
    ],
    "Evaluation": [
        ("experiments.EvalMetricDefinition", "straighten"),
        ("experiments.Evaluator", "fact_check"),
        ("experiments.EvalScore", "grade"),
        ("experiments.Thumb", "thumbs_up_down"),
        ("experiments.Evaluation", "pending_actions"),
    ],
    "Models": [
        ("llm_routing.Provider", "dns"),
        ("llm_routing.Endpoint", "lan"),
        ("llm_routing.RegisteredModel", "memory"),
        ("llm_routing.ModelDefault", "bookmark"),
        ("llm_routing.ChatProfile", "badge"),
    ],
    "Playground": [
        ("playground.Comparison", "compare_arrows"),
        ("playground.PlaygroundSession", "forum"),
        ("playground.PlaygroundMessage", "chat"),
    ],
    "Organisations": [
        ("orgs.Org", "apartment"),
        ("orgs.Membership", "group"),
        ("orgs.Invitation", "mail"),
        ("orgs.User", "person"),
        ("quotas.OrgLimits", "speed"),
    ],
    "Records": [
        ("audit.AuditEvent", "history"),
        ("quotas.UsageRecord", "receipt_long"),
        ("quotas.UsageCounter", "data_usage"),
    ],
}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    groups = []
    for title, entries in GROUPS.items():
        items = [item for label, icon in entries if (item := _item(request, label, icon))]
        if items:
            groups.append({"title": title, "separator": True, "collapsible": False, "items": items})
    return groups


def _item(request: HttpRequest, label: str, icon: str) -> dict[str, Any] | None:
    model = apps.get_model(label)
    if not admin.site._registry[model].has_view_permission(request):
        return None
    meta = model._meta
    link = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return {"title": str(meta.verbose_name_plural).capitalize(), "icon": icon, "link": link}


def favicon(request: HttpRequest) -> str:
    return static("img/logo.svg")


def stylesheet(request: HttpRequest) -> str:
    return static("css/admin.css")


def script(request: HttpRequest) -> str:
    return static("js/admin.js")


def no_inline_colors(request: HttpRequest) -> dict[str, Any]:
    """The theme would write its colours into a style element, which browsers are told to refuse."""
    return {}
