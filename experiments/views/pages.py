"""The experiments page, one experiment on it, and one cell."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.orgs.console import OrgPage
from evalsuite.web import wants_partial
from experiments.models import Experiment, ExperimentRun
from experiments.views.context import LISTED, detail, runs_section


class ExperimentsPage(OrgPage):
    """The list, with nothing selected."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return render(request, "experiments/page.html", listed(self))


class ExperimentPage(OrgPage):
    """One experiment. For htmx: its runs alone, as the query string narrows them down."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = Experiment.objects.for_org(self.org).find(experiment_id)
        if wants_partial(request):  # type: ignore[arg-type]
            runs = runs_section(self, experiment)
            return render(request, "experiments/partials/runs_update.html", runs)
        return render(request, "experiments/page.html", {**listed(self), **detail(self, experiment)})


class RunPage(OrgPage):
    """One cell with everything that produced it."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, run_id: str) -> HttpResponse:
        runs = ExperimentRun.objects.for_org(self.org).select_related(
            "experiment", "variant", "input", "batch"
        )
        run = runs.find(run_id)
        scores = run.scores.select_related("metric", "rater", "evaluator")
        context = {
            "run": run,
            "experiment": run.experiment,
            "attempts": run.attempts.all(),
            "scores": scores,
            "times": [
                ("Waited in our queue", run.queue_ms),
                ("Waited at the provider", run.provider_wait_ms),
                ("Loading the model", run.load_ms),
                ("Reading the prompt", run.prompt_ms),
                ("First token after", run.first_token_ms),
                ("Writing the answer", run.decode_ms),
                ("Latency in all", run.latency_ms),
            ],
            "can_rate": "org:experiments:rate" in self.permissions,
        }
        return render(request, "experiments/run.html", context)


def listed(page: OrgPage) -> dict[str, Any]:
    return {
        "experiments": Experiment.objects.for_org(page.org)[:LISTED],
        "can_write": "org:experiments:write" in page.permissions,
    }
