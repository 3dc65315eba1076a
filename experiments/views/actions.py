"""What the console's buttons do. Each answers with the part of the page that it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect, HttpResponseClientRefresh, push_url

from evalsuite.errors import EvalsuiteError, NotFound
from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import Permission
from experiments import forms
from experiments.forms import checked
from experiments.models import Batch, Experiment
from experiments.services import authoring, baselines, estimates, planning, steering
from experiments.views.context import as_it_stands, base, batch_update, inputs_card, inputs_shown, runs_update
from experiments.views.evaluator_cards import evaluators_card
from llm_routing.models import ChatProfile, RegisteredModel


class Action(OrgPage):
    required_permission: ClassVar[Permission | dict[str, Permission]] = "org:experiments:write"

    def experiment(self, experiment_id: str) -> Experiment:
        return Experiment.objects.for_org(self.org).find(experiment_id)

    def answer(self, template: str, context: dict[str, Any]) -> HttpResponse:
        return render(self.request, f"experiments/partials/{template}.html", context)


class CreateExperiment(Action):
    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        values = checked(forms.ExperimentForm(request.POST))
        experiment = authoring.create_experiment(org=self.org, author=self.user, **values)
        return HttpResponseClientRedirect(
            reverse("console:experiment", args=[self.org.pk, experiment.pk]),
        )


class DeleteExperiment(Action):
    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        authoring.delete_experiment(self.experiment(experiment_id), actor=self.user)
        return HttpResponseClientRedirect(reverse("console:experiments", args=[self.org.pk]))


class AddVariant(Action):
    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        """What the dialog offers to choose from."""
        self.experiment(experiment_id)
        offered = {
            "profiles": ChatProfile.objects.for_org(self.org),
            "models": RegisteredModel.objects.usable_by(self.org).select_related("provider"),
        }
        return self.answer("variant_selects", offered)

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        form = forms.VariantForm(request.POST)
        values = checked(form)
        config = form.config()
        if model_id := values["model"]:
            usable = RegisteredModel.objects.usable_by(self.org).select_related("provider")
            model = usable.filter(pk__in=filter(None, [parse_id(model_id)])).first()
            if model is None:
                raise NotFound("model")
            config |= {"modelProvider": model.provider.slug, "modelName": model.name}
        profile_id = values["chat_profile"]
        authoring.create_variant(
            experiment=experiment,
            author=self.user,
            name=values["name"],
            system_prompt=values["system_prompt"],
            chat_profile=ChatProfile.objects.for_org(self.org).find(profile_id) if profile_id else None,
            config=config,
        )
        return self.answer("variants_update", base(self, as_it_stands(self, experiment_id)))


class AddInputs(Action):
    required_permission = {"GET": "org:experiments:read", "POST": "org:experiments:write"}

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        """The first ones, for whoever wants to see them."""
        return self.answer("inputs_shown", inputs_shown(self.experiment(experiment_id)))

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        form = forms.InputLinesForm(request.POST)
        checked(form)
        authoring.add_lines(experiment=experiment, author=self.user, contents=form.contents())
        return self.answer("inputs_update", inputs_card(self, as_it_stands(self, experiment_id)))


class StartRun(Action):
    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        form = forms.RunForm(request.POST)
        checked(form)
        planning.start_batch(experiment=experiment, author=self.user, **form.wanted())
        response = self.answer("runs_update", runs_update(self, as_it_stands(self, experiment_id)))
        # What the address named is not what is shown now: an earlier batch, filters, another view.
        return push_url(response, reverse("console:experiment", args=[self.org.pk, experiment.pk]))


class PlanRun(Action):
    """What Run would do with the options of the dialog; what stands against it, in words."""

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        form = forms.RunForm(request.POST)
        try:
            checked(form)
            plan = estimates.estimate(experiment, user=self.user, **form.wanted())
        except EvalsuiteError as problem:
            return self.answer("run_plan", {"problem": problem.message})
        return self.answer("run_plan", {"plan": plan, "tokens_left": plan.quota_left["tokensPerDay"]})


class SetBaseline(Action):
    """The batch that new ones are compared with; no batch in the form: none any more."""

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self.experiment(experiment_id)
        wanted = request.POST.get("batch", "")
        batch = experiment.batches.find(wanted) if wanted else None
        baselines.set_baseline(experiment, batch=batch, actor=self.user)
        return HttpResponseClientRefresh()


class SteerBatch(Action):
    """Cancel a batch, pause it, let it go on, or run its failed cells again."""

    steer: ClassVar[Callable[..., object]] = staticmethod(steering.cancel)

    def post(self, request: HttpRequest, org_id: str, batch_id: str) -> HttpResponse:
        batch = Batch.objects.for_org(self.org).select_related("experiment__org").find(batch_id)
        type(self).steer(batch, actor=self.user, **self.wishes())
        shown = batch_update(self, batch_id)
        return self.answer("batch_update", {**shown, **evaluators_card(self, shown["experiment"])})

    def wishes(self) -> dict[str, Any]:
        """What the form says besides the button."""
        return {}


class PauseBatch(SteerBatch):
    steer = staticmethod(steering.pause)


class ResumeBatch(SteerBatch):
    steer = staticmethod(steering.resume)

    def wishes(self) -> dict[str, Any]:
        budget = checked(forms.BudgetForm(self.request.POST))["token_budget"]
        return {"token_budget": budget} if budget else {}


class RetryFailed(SteerBatch):
    steer = staticmethod(steering.retry_failed)
