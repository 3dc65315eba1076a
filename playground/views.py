"""The playground page. Its Run button speaks to the API's stream."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.orgs.console import OrgPage
from llm_routing.models import ChatProfile, ModelDefault, RegisteredModel
from llm_routing.types import DEFAULT_TEMPERATURE, DEFAULT_TOP_P


class PlaygroundPage(OrgPage):
    required_permission = "org:playground:use"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        default = ModelDefault.objects.filter(org=self.org).values_list("model", flat=True).first()
        models = list(RegisteredModel.objects.usable_by(self.org).select_related("provider"))
        context = {
            "profiles": ChatProfile.objects.for_org(self.org),
            "models": models,
            "has_toy": any(model.provider.is_toy for model in models),
            "default_model": default,
            "temperature": DEFAULT_TEMPERATURE,
            "top_p": DEFAULT_TOP_P,
        }
        return render(request, "playground/page.html", context)
