"""The evaluators' card: attach one, change it, switch it off, and evaluate again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django_htmx.http import trigger_client_event

from evalsuite.errors import EvalsuiteError, InvalidBody, NotFound
from evalsuite.ids import parse_id
from experiments import config_forms
from experiments.config_forms import Field
from experiments.evaluators.registry import KINDS
from experiments.models import METRIC_KEY, Evaluator, Experiment
from experiments.services import authoring, changes
from experiments.services.evaluating import evaluate_again
from experiments.views.actions import Action
from experiments.views.context import as_it_stands
from experiments.views.evaluator_cards import (
    describe,
    evaluate_again_dialog,
    evaluators_card,
    kind_choices,
    model_choices,
)

SAVED = "evaluator-saved"  # the page's script closes the dialog then
SCORED = "evaluations-ended"  # and fetches the results anew
FIRST_KIND = "exact_match"
LONGEST_NAME = 128


class EvaluatorAction(Action):
    def evaluator(self, experiment: Experiment, evaluator_id: str) -> Evaluator:
        rows = Evaluator.objects.for_org(self.org).filter(experiment=experiment)
        return rows.select_related("metric", "experiment__org").find(evaluator_id)

    def card(self, experiment: Experiment) -> HttpResponse:
        return self.answer("evaluators_card", self.shown(experiment))

    def saved(self, experiment: Experiment) -> HttpResponse:
        """Into the dialog: nothing, and the card beside it."""
        response = self.answer("evaluators_update", self.shown(experiment))
        return trigger_client_event(response, SAVED)

    def shown(self, experiment: Experiment) -> dict[str, Any]:
        """The card after what was done."""
        return evaluators_card(self, as_it_stands(self, experiment.pk))

    def dialog(self, experiment: Experiment, evaluator: Evaluator | None, **shown: Any) -> HttpResponse:
        return self.answer(
            "evaluator_form",
            {
                "org": self.org,
                "experiment": experiment,
                "evaluator": evaluator,
                "kinds": kind_choices(),
                "words": describe(shown["kind"]),
                "metrics": self.org.metrics.values_list("key", flat=True)[:200],
                **shown,
            },
        )

    def save(self, experiment: Experiment, evaluator: Evaluator | None, kind: str) -> HttpResponse:
        """Write what the dialog sent, or show it again with what is wrong at each field."""
        sent = {name: value for name, value in self.request.POST.items() if isinstance(value, str)}
        try:
            values: dict[str, Any] = _basics(sent)
            values["config"] = config_forms.parsed(KINDS[kind].config_schema, sent)
            if evaluator is None:
                authoring.create_evaluator(experiment=experiment, author=self.user, kind=kind, **values)
            else:
                authoring.update_evaluator(evaluator, actor=self.user, **values)
        except EvalsuiteError as problem:
            return self._again(experiment, evaluator, kind, sent, problem)
        return self.saved(experiment)

    def _again(
        self,
        experiment: Experiment,
        evaluator: Evaluator | None,
        kind: str,
        sent: Mapping[str, str],
        problem: EvalsuiteError,
    ) -> HttpResponse:
        problems = problem.fields if isinstance(problem, InvalidBody) else {"": [problem.message]}
        basics = {name: " ".join(problems[name]) for name in ("name", "metricKey") if name in problems}
        fields = self.fields(kind, {})
        config_forms.refill(fields, sent)
        rest = {name: why for name, why in problems.items() if name not in basics}
        return self.dialog(
            experiment,
            evaluator,
            kind=kind,
            fields=fields,
            name=sent.get("name", ""),
            metric_key=sent.get("metricKey", ""),
            errors=basics,
            problems=config_forms.put_errors(fields, rest),
        )

    def fields(self, kind: str, config: Mapping[str, Any]) -> list[Field]:
        return config_forms.fields_of(KINDS[kind].config_schema, config, models=model_choices(self))


def _basics(sent: Mapping[str, str]) -> dict[str, str]:
    """Name and metric; the kind's title where no name is given. Raises InvalidBody."""
    name, key = sent.get("name", "").strip(), sent.get("metricKey", "").strip()
    problems = {}
    if len(name) > LONGEST_NAME:
        problems["name"] = [f"This may have at most {LONGEST_NAME} characters."]
    try:
        METRIC_KEY(key)
    except ValidationError as problem:
        problems["metricKey"] = list(problem.messages)
    if problems:
        raise InvalidBody(problems)
    return {"metric_key": key, **({"name": name} if name else {})}


def _kind(text: str) -> str:
    if text not in KINDS:
        raise InvalidBody({"kind": ["There is no such kind of evaluator."]})
    return text


class Evaluators(EvaluatorAction):
    """The card by itself, for as long as evaluations may come; and what it adds."""

    required_permission = {"GET": "org:experiments:read", "POST": "org:experiments:write"}

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        shown = evaluators_card(self, as_it_stands(self, experiment_id))
        response = self.answer("evaluators_card", shown)
        if request.GET.get("ended", "") != str(shown["evaluations_ended"]):
            trigger_client_event(response, SCORED)
        return response

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        return self.save(experiment, None, _kind(request.POST.get("kind", "")))


class NewEvaluator(EvaluatorAction):
    """The dialog, empty, with the fields of one kind."""

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        kind = _kind(request.GET.get("kind", FIRST_KIND))
        return self.dialog(
            self.experiment(experiment_id),
            None,
            kind=kind,
            fields=self.fields(kind, {}),
            name=request.GET.get("name", ""),
            metric_key=request.GET.get("metricKey", ""),
        )


class EditEvaluator(EvaluatorAction):
    def get(self, request: HttpRequest, org_id: str, experiment_id: str, evaluator_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        evaluator = self.evaluator(experiment, evaluator_id)
        return self.dialog(
            experiment,
            evaluator,
            kind=evaluator.kind,
            fields=self.fields(evaluator.kind, evaluator.config),
            name=evaluator.name,
            metric_key=evaluator.metric.key,
        )

    def post(self, request: HttpRequest, org_id: str, experiment_id: str, evaluator_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        evaluator = self.evaluator(experiment, evaluator_id)
        return self.save(experiment, evaluator, evaluator.kind)


class SwitchEvaluator(EvaluatorAction):
    """On or off, the other way round than it is shown."""

    def post(self, request: HttpRequest, org_id: str, experiment_id: str, evaluator_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        evaluator = self.evaluator(experiment, evaluator_id)
        authoring.update_evaluator(evaluator, actor=self.user, enabled=request.POST.get("enabled") == "on")
        return self.card(experiment)


class DeleteEvaluator(EvaluatorAction):
    def post(self, request: HttpRequest, org_id: str, experiment_id: str, evaluator_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        evaluator = self.evaluator(experiment, evaluator_id)
        facts = changes.told(evaluator, ["name"])
        changes.delete(evaluator, org=self.org, actor=self.user, facts=facts)
        return self.card(experiment)


class EvaluateAgain(EvaluatorAction):
    """All finished batches or one of them, by the evaluators that are ticked."""

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        return self.answer("evaluate_again", evaluate_again_dialog(self, self.experiment(experiment_id)))

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        batch_id = request.POST.get("batch", "")
        chosen = request.POST.getlist("evaluator")
        ids = [found for text in chosen if (found := parse_id(text))]
        if len(ids) < len(chosen):
            raise NotFound("evaluator")
        if not ids:
            raise InvalidBody({"evaluators": ["Choose at least one."]})
        evaluate_again(
            experiment,
            batch=experiment.batches.find(batch_id) if batch_id else None,
            evaluator_ids=ids,
            only_missing="only_missing" in request.POST,
            actor=self.user,
        )
        return self.saved(experiment)
