"""One cell: its page, the same beside the grid, and what people say of its answer."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite import textdiff
from evalsuite.orgs.console import OrgPage
from evalsuite.web import wants_partial
from experiments import charts, forms
from experiments.forms import checked
from experiments.models import EvalMetricDefinition, EvalScore, ExperimentRun
from experiments.models.runs import RunQuerySet
from experiments.services import feedback
from experiments.views.actions import Action

OFFERED_OTHERS = 30  # cells to compare with
OFFERED_METRICS = 100
SHEET = "sheet"


class RunPage(OrgPage):
    """One cell with everything that produced it. For htmx: the sheet beside the grid."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, run_id: str) -> HttpResponse:
        run = _runs(self).find(run_id)
        context = cell_context(self, run)
        if wants_partial(request):  # type: ignore[arg-type]
            return render(request, "experiments/partials/cell_sheet.html", {**context, "place": SHEET})
        return render(request, "experiments/run.html", context)


class DiffPage(OrgPage):
    """The answers of two cells on one input, word by word. For htmx: the difference alone."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, run_id: str) -> HttpResponse:
        run = _runs(self).find(run_id)
        other = _runs(self).filter(experiment=run.experiment_id).find(request.GET.get("with", ""))
        context = {
            "run": run,
            "other": other,
            "experiment": run.experiment,
            "difference": textdiff.compare(other.output, run.output),
        }
        if wants_partial(request):  # type: ignore[arg-type]
            return render(request, "experiments/partials/cell_diff.html", context)
        return render(request, "experiments/diff.html", {**context, "others": others(run)})


class RateRun(Action):
    required_permission = "org:experiments:rate"

    def post(self, request: HttpRequest, org_id: str, run_id: str) -> HttpResponse:
        run = _runs(self).find(run_id)
        pressed = checked(forms.FeedbackForm(request.POST))["thumb"] == "up"
        own = run.thumbs.filter(rater=self.user, up=pressed).exists()
        given = {"thumbs_up": None if own else pressed}
        feedback.give_feedback(run, org=self.org, actor=self.user, given=given)
        run = _runs(self).find(run_id)
        place = SHEET if request.POST.get("place") == SHEET else ""
        return self.answer("thumbs", {"run": run, "org": self.org, "can_rate": True, "place": place})


class NoteRun(Action):
    """What people note about an answer; an empty one clears it."""

    required_permission = "org:experiments:rate"

    def post(self, request: HttpRequest, org_id: str, run_id: str) -> HttpResponse:
        run = _runs(self).find(run_id)
        note = checked(forms.NoteForm(request.POST))["note"] or None
        feedback.give_feedback(run, org=self.org, actor=self.user, given={"feedback_note": note})
        run.refresh_from_db(fields=["feedback_note"])
        return self.answer("cell_note", {"run": run, "org": self.org, "can_rate": True, "saved": True})


class ScoreRun(Action):
    """This person's score of an answer; an earlier one by the same metric gives way."""

    required_permission = "org:experiments:rate"

    def post(self, request: HttpRequest, org_id: str, run_id: str) -> HttpResponse:
        run = _runs(self).find(run_id)
        values = checked(forms.ScoreForm(request.POST))
        metric = EvalMetricDefinition.objects.for_org(self.org).find(values["metric"])
        feedback.give_score(
            run,
            org=self.org,
            rater=self.user,
            metric_key=metric.key,
            value=values["value"],
            note=values["note"] or None,
        )
        return self.answer("cell_scores", {**scores_context(self, run), "org": self.org})


class RemoveScore(Action):
    required_permission = "org:experiments:rate"

    def post(self, request: HttpRequest, org_id: str, run_id: str, score_id: str) -> HttpResponse:
        run = _runs(self).find(run_id)
        scores = EvalScore.objects.for_org(self.org).filter(run=run).select_related("metric")
        feedback.delete_score(scores.find(score_id), org=self.org, actor=self.user)
        return self.answer("cell_scores", {**scores_context(self, run), "org": self.org})


def _runs(page: OrgPage) -> RunQuerySet:
    runs = ExperimentRun.objects.for_org(page.org).with_tally(page.user)
    return runs.select_related("experiment", "variant", "input", "batch")


def cell_context(page: OrgPage, run: ExperimentRun) -> dict[str, Any]:
    return {
        **scores_context(page, run),
        "org": page.org,
        "experiment": run.experiment,
        "attempts": run.attempts.all(),
        "times": charts.times_of(run),
        "parameters": _parameters(run),
        "others": others(run),
    }


def scores_context(page: OrgPage, run: ExperimentRun) -> dict[str, Any]:
    """The scores of a cell with their sources, those that are missing with their reasons, the metrics."""
    can_rate = "org:experiments:rate" in page.permissions
    metrics = EvalMetricDefinition.objects.for_org(page.org)[:OFFERED_METRICS] if can_rate else []
    return {
        "run": run,
        "scores": run.scores.select_related("metric", "rater", "evaluator").order_by("metric__key", "id"),
        "missing_scores": _missing(run),
        "metrics": metrics,
        "can_rate": can_rate,
        "can_write": "org:experiments:write" in page.permissions,
        "viewer": page.user,
    }


def _missing(run: ExperimentRun) -> list[tuple[str, str]]:
    """Evaluator and reason of each score that an evaluator did not give."""
    if not run.evaluation_notes:
        return []
    names = {str(row.pk): row.name for row in run.experiment.evaluators.all()}
    notes = run.evaluation_notes.items()
    return [(names.get(pk, "An evaluator that was removed"), str(note)) for pk, note in notes]


def _parameters(run: ExperimentRun) -> list[tuple[str, Any]]:
    """What was sent besides the messages, by names for people. What the provider chose is left out."""
    known = {"temperature": run.temperature, "top_p": run.top_p, "max_tokens": run.max_tokens}
    rest = {name: value for name, value in sorted(run.parameters.items()) if name not in known}
    given = {**known, **rest}
    return [
        (name.replace("_", " ").capitalize(), value)
        for name, value in given.items()
        if value not in (None, "", [], {})
    ]


def others(run: ExperimentRun) -> list[ExperimentRun]:
    """Answers on the same input: of this batch first, then of earlier and later ones."""
    same_input = (
        ExperimentRun.objects.filter(
            experiment=run.experiment_id, input=run.input_id, state=ExperimentRun.State.SUCCEEDED
        )
        .exclude(pk=run.pk)
        .select_related("variant", "batch")
        .only("variant__name", "batch__created_at", "repeat", "batch")
    )
    here = same_input.filter(batch=run.batch_id).order_by("variant", "repeat")[:OFFERED_OTHERS]
    elsewhere = same_input.exclude(batch=run.batch_id).order_by("-batch", "variant", "repeat")
    return [*here, *elsewhere[:OFFERED_OTHERS]]
