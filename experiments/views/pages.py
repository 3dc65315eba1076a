"""The experiments page, and one experiment on it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from evalsuite.web import wants_partial
from experiments.models import Experiment
from experiments.views.context import (
    LISTED,
    as_it_stands,
    batch_update,
    detail,
    results_alone,
    runs_update,
)


class ExperimentsPage(OrgPage):
    """The list, with nothing selected."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return render(request, "experiments/page.html", listed(self))


class ExperimentPage(OrgPage):
    """One experiment. For htmx: its runs alone, as the query string narrows them down."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = as_it_stands(self, experiment_id)
        if wants_partial(request):  # type: ignore[arg-type]
            if request.htmx.target == "results-view":  # type: ignore[attr-defined]
                results = results_alone(self, experiment)
                return render(request, "experiments/partials/results_view.html", results)
            runs = runs_update(self, experiment)
            return render(request, "experiments/partials/runs_update.html", runs)
        cell = parse_id(request.GET.get("cell", ""))
        context = {**listed(self), **detail(self, experiment), "opened_cell": cell}
        return render(request, "experiments/page.html", context)


class BatchUpdate(OrgPage):
    """What has changed of a batch, for a page that shows it already."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, batch_id: str) -> HttpResponse:
        return render(request, "experiments/partials/batch_update.html", batch_update(self, batch_id))


def listed(page: OrgPage) -> dict[str, Any]:
    """The newest ones, or those behind the one that the query names."""
    rows = Experiment.objects.for_org(page.org)
    before = parse_id(page.request.GET.get("before", ""))
    found = list((rows.filter(pk__lt=before) if before else rows).order_by("-id")[: LISTED + 1])
    return {
        "experiments": found[:LISTED],
        "older": found[LISTED - 1].pk if len(found) > LISTED else None,
        "newer": before is not None,
        "can_write": "org:experiments:write" in page.permissions,
    }
