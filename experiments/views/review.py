"""Review mode: one cell at a time, by keyboard, blind unless the rater wants to see.

Blind means that the page and its requests have no name of a variant, of a model or of a profile, nor what
gives them away: the messages as sent, times, errors, and the notes and thumbs of others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import Permission
from evalsuite.web import wants_partial
from experiments import forms
from experiments.forms import checked
from experiments.models import Batch, EvalMetricDefinition, Experiment, ExperimentRun
from experiments.services import feedback, review
from experiments.services.review import Queue

RECENT_BATCHES = 50
STATES = {"succeeded": "With an answer", "failed": "Failed", "": "All"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the query string asks for. Ids and plain words only: a blind review has no names in its URLs."""

    batch: str
    state: str
    variant: str
    unrated: bool
    blind: bool
    metric: str

    @classmethod
    def of(cls, request: HttpRequest) -> Wishes:
        query = request.GET
        blind = query.get("blind") != "no"
        return cls(
            batch=query.get("batch", ""),
            state=query["state"] if query.get("state") in STATES else "succeeded",
            variant="" if blind else str(parse_id(query.get("variant", "")) or ""),
            unrated=query.get("rated") == "no",
            blind=blind,
            metric=str(parse_id(query.get("metric", "")) or ""),
        )

    def query(self, run: UUID | None = None) -> str:
        """As a query string that asks for the same, at another cell."""
        values = {
            "batch": self.batch,
            "state": self.state,
            "variant": self.variant,
            "rated": "no" if self.unrated else "",
            "blind": "" if self.blind else "no",
            "metric": self.metric,
            "run": str(run) if run else "",
        }
        return urlencode({name: value for name, value in values.items() if value or name == "state"})


PAGE, CELL = "experiments/review.html", "experiments/partials/review.html"


class ReviewView(OrgPage):
    required_permission: ClassVar[Permission | dict[str, Permission]] = "org:experiments:rate"

    def context(self, experiment: Experiment, run_id: UUID | None) -> dict[str, Any]:
        """The batch, the filters, and one cell: the one asked for, or the first that is not rated."""
        wishes = Wishes.of(self.request)
        batches = list(experiment.batches.all()[:RECENT_BATCHES])
        batch = experiment.batches.find(wishes.batch) if wishes.batch else next(iter(batches), None)
        metrics = list(EvalMetricDefinition.objects.for_org(self.org))
        metric = next((one for one in metrics if str(one.pk) == wishes.metric), next(iter(metrics), None))
        # Links stay with what is shown, whatever comes meanwhile.
        wishes = replace(
            wishes, batch=str(batch.pk) if batch else "", metric=str(metric.pk) if metric else ""
        )
        shown: dict[str, Any] = {
            "experiment": experiment,
            "wishes": wishes,
            "batches": batches if batch in batches or batch is None else [batch, *batches],
            "metrics": metrics,
            "metric": metric,
            "states": STATES.items(),
            "variants": [] if wishes.blind else experiment.variants.all(),
        }
        return {**shown, **self._cell(batch, wishes, metric, run_id)} if batch else shown

    def _cell(
        self, batch: Batch, wishes: Wishes, metric: EvalMetricDefinition | None, run_id: UUID | None
    ) -> dict[str, Any]:
        queue = review.queue_of(batch, self.user, state=wishes.state, variant=parse_id(wishes.variant))
        if run_id not in queue.ids:  # none was asked for, or the filters have left it out
            run_id = queue.begin()
        if run_id is None:
            return {"batch": batch, "queue": queue}
        runs = ExperimentRun.objects.filter(batch=batch).with_tally(self.user)
        run = runs.select_related("variant").get(pk=run_id)
        score = run.scores.filter(rater=self.user, metric=metric).first() if metric else None
        keys = review.keys_of(metric) if metric else []
        return {
            "batch": batch,
            "queue": queue,
            "run": run,
            "place": queue.place(run_id),
            "keys": keys,
            "score": score,
            "score_has_key": score is not None and score.value in [key.value for key in keys],
            "steps": _steps(queue, wishes, run_id),
            "here": wishes.query(run_id),
        }


def _steps(queue: Queue, wishes: Wishes, run_id: UUID) -> dict[str, str]:
    """Query strings of the ways on, empty where there is none."""
    ways = {
        "next": queue.step(run_id, 1, only_unrated=wishes.unrated),
        "previous": queue.step(run_id, -1, only_unrated=wishes.unrated),
        "skip": queue.unrated_after(run_id),
    }
    return {name: wishes.query(one) if one else "" for name, one in ways.items()}


class ReviewPage(ReviewView):
    """For htmx: the cell with its buttons alone."""

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = Experiment.objects.for_org(self.org).find(experiment_id)
        partial = wants_partial(request)  # type: ignore[arg-type]
        context = self.context(experiment, parse_id(request.GET.get("run", "")))
        return render(request, CELL if partial else PAGE, context)


class RateInReview(ReviewView):
    """What a key or a button does to one cell. Answers with the cell as it is then."""

    def post(self, request: HttpRequest, org_id: str, experiment_id: str, run_id: str) -> HttpResponse:
        experiment = Experiment.objects.for_org(self.org).find(experiment_id)
        run = ExperimentRun.objects.for_org(self.org).filter(experiment=experiment).find(run_id)
        values = checked(forms.ReviewForm(request.POST))
        # All that is named must be there before anything is written.
        if batch_id := Wishes.of(request).batch:
            experiment.batches.find(batch_id)
        metrics = EvalMetricDefinition.objects.for_org(self.org)
        metric = None if values["value"] is None else metrics.find(values["metric"])
        with transaction.atomic():
            if values["thumb"]:
                review.press_thumb(run, org=self.org, actor=self.user, up=values["thumb"] == "up")
            if metric:
                review.press_score(run, org=self.org, actor=self.user, metric=metric, value=values["value"])
            if "note" in request.POST:
                self._note(run, values["note"])
        return render(request, CELL, self.context(experiment, run.pk))

    def _note(self, run: ExperimentRun, note: str) -> None:
        if not Wishes.of(self.request).blind:
            feedback.give_feedback(run, org=self.org, actor=self.user, given={"feedback_note": note or None})
        elif note:
            review.add_note(run, org=self.org, actor=self.user, text=note)
