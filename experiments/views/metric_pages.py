"""The metrics of an org: what there is, one of them, and changing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from evalsuite.errors import InvalidBody
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import Permission
from experiments.forms import MetricForm, checked
from experiments.models import EvalMetricDefinition
from experiments.services import changes, metric_definitions


class MetricsView(OrgPage):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": "org:experiments:read",
        "POST": "org:experiments:write",
    }
    is_new = False  # what the form is for

    def metrics(self) -> Any:
        return EvalMetricDefinition.objects.for_org(self.org).with_uses()

    def shown(self, template: str, **context: Any) -> HttpResponse:
        can_write = "org:experiments:write" in self.permissions
        return render(self.request, f"experiments/{template}.html", {"can_write": can_write, **context})

    def save(self, form: MetricForm, save: Callable[[dict[str, Any]], object]) -> HttpResponse:
        """Back to the list; or the form again, with what is wrong beside each field."""
        try:
            checked(form)
            save(form.wanted())
        except InvalidBody as error:
            typed = {name: form.data.get(name, "") for name in form.fields}
            reasons = {name: why[0] for name, why in error.fields.items()}
            fields = {**typed, "errors": reasons}
            response = self.shown("partials/metric_form", fields=fields, is_new=self.is_new)
            response.status_code = error.status
            response["HX-Retarget"] = "#metric-form"
            response["HX-Reswap"] = "outerHTML"
            return response
        return self.back()

    def back(self) -> HttpResponse:
        return HttpResponseClientRedirect(reverse("console:metrics", args=[self.org.pk]))


class MetricsPage(MetricsView):
    """The list, and new ones."""

    is_new = True

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return self.shown("metrics", metrics=self.metrics().order_by("key"), is_new=True)

    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        def create(values: dict[str, Any]) -> None:
            metric_definitions.create_metric(org=self.org, author=self.user, **values)

        return self.save(MetricForm(request.POST), create)


class MetricPage(MetricsView):
    """One metric with all that it says, to change."""

    def get(self, request: HttpRequest, org_id: str, metric_id: str) -> HttpResponse:
        metric = self.metrics().find(metric_id)
        return self.shown("metric", metric=metric, fields=fields_of(metric))

    def post(self, request: HttpRequest, org_id: str, metric_id: str) -> HttpResponse:
        metric = self.metrics().select_related("org").find(metric_id)

        def update(values: dict[str, Any]) -> None:
            values.pop("key")
            metric_definitions.update_metric(metric, actor=self.user, **values)

        return self.save(MetricForm({**request.POST.dict(), "key": metric.key}), update)


class DeleteMetric(MetricsView):
    required_permission = "org:experiments:write"

    def post(self, request: HttpRequest, org_id: str, metric_id: str) -> HttpResponse:
        metric = EvalMetricDefinition.objects.for_org(self.org).find(metric_id)
        facts = changes.told(metric, ["key"])
        changes.delete(metric, org=self.org, actor=self.user, facts=facts)
        return self.back()


def fields_of(metric: EvalMetricDefinition) -> dict[str, Any]:
    """What the form shows of a metric, all as text."""
    numbers = {name: _number(getattr(metric, name)) for name in ("minimum", "maximum", "step")}
    texts = {name: getattr(metric, name) for name in ("key", "name", "description", "scale", "direction")}
    labels = "\n".join(f"{value} = {words}" for value, words in metric.labels.items())
    return {**texts, **numbers, "labels": labels}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"
