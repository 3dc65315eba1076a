"""The models page: servers, the models that they offer, and what their managers may do with them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.forms import checked
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.querysets import find
from evalsuite.web import wants_partial
from llm_routing import provider_services, services
from llm_routing.forms import ContextForm, DefaultForm
from llm_routing.models import ModelDefault, Provider, RegisteredModel
from llm_routing.resolution import context_for

LISTED = 500  # models on the page


class ModelsPage(OrgPage):
    """For htmx: the lists alone, as the query string narrows them down."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        partial = wants_partial(request)  # type: ignore[arg-type]
        template = "llm_routing/partials/registry.html" if partial else "llm_routing/models.html"
        return render(request, template, registry_of(self))


class RegistryAction(OrgPage):
    required_permission: ClassVar[Permission | dict[str, Permission]] = "org:models:write"

    def provider(self, provider_id: str) -> Provider:
        return find(Provider.objects.visible_to(self.org), provider_id)

    def show(self, message: str) -> HttpResponse:
        context = {**registry_of(self), "message": message}
        return render(self.request, "llm_routing/partials/registry_update.html", context)


class SyncProvider(RegistryAction):
    def post(self, request: HttpRequest, org_id: str, provider_id: str) -> HttpResponse:
        provider = self.provider(provider_id)
        result = provider_services.sync(provider, org=self.org, actor=self.user)
        counts = f"{len(result.added)} added, {len(result.updated)} updated, {len(result.gone)} gone"
        return self.show(f"{provider.name}: {counts}.")


class ConnectionTest(RegistryAction):
    def post(self, request: HttpRequest, org_id: str, provider_id: str) -> HttpResponse:
        provider = self.provider(provider_id)
        found = provider_services.test_connection(provider, org=self.org, actor=self.user)
        context = {"found": found, "provider": provider}
        return render(request, "llm_routing/partials/connection_test.html", context)


class MakeDefault(RegistryAction):
    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        model = _model(self, checked(DefaultForm(request.POST))["model"])
        services.set_default_model(
            self.org, actor=self.user, model_provider=model.provider.slug, model_name=model.name
        )
        return self.show(f"Requests that name no model go to {model.name} now.")


class SetContext(RegistryAction):
    def post(self, request: HttpRequest, org_id: str, model_id: str) -> HttpResponse:
        model = _model(self, model_id)
        num_ctx = checked(ContextForm(request.POST))["num_ctx"]
        services.set_num_ctx(model, org=self.org, actor=self.user, num_ctx=num_ctx)
        return self.show(f"{model.name} is loaded with {context_for(model):,} tokens of context now.")


def _model(page: OrgPage, model_id: str) -> RegisteredModel:
    return find(RegisteredModel.objects.visible_to(page.org), model_id)


def registry_of(page: OrgPage) -> dict[str, Any]:
    """The providers with their counts, and the models that the filters leave."""
    may_write = "org:models:write" in page.permissions
    seen = Q(offers__available=True)
    providers = list(
        Provider.objects.visible_to(page.org).annotate(
            model_count=Count("offers", filter=seen), seen_at=Max("offers__last_seen_at")
        )
    )
    manages = {
        provider.pk
        for provider in providers
        if may_write and provider_services.is_managed(provider, page.org, page.user)
    }
    query = page.request.GET.get("q", "").strip()[:128]
    models = RegisteredModel.objects.visible_to(page.org).order_by("-available", "name", "id")
    if query:
        models = models.filter(Q(name__icontains=query) | Q(provider__name__icontains=query))
    shown = list(models[:LISTED])
    return {
        "providers": [(provider, provider.pk in manages) for provider in providers],
        "models": [(model, context_for(model), _may_set_context(page, model, may_write)) for model in shown],
        "default": _default(page),
        "query": query,
        "can_write": may_write,
    }


def _may_set_context(page: OrgPage, model: RegisteredModel, may_write: bool) -> bool:
    """Only an Ollama loads a model with the context that it is told."""
    own = model.provider.org_id == page.org.pk
    return may_write and own and model.provider.kind == Provider.Kind.OLLAMA


def _default(page: OrgPage) -> RegisteredModel | None:
    default = ModelDefault.objects.filter(org=page.org).select_related("model__provider").first()
    return default.model if default else None
