"""The page of servers: each provider's endpoints, how they are, and what their managers may do with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.errors import InvalidBody
from evalsuite.forms import checked
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.querysets import find
from llm_routing import provider_services, standing
from llm_routing.forms import EndpointForm, NewProviderForm, ProviderForm
from llm_routing.models import Endpoint, Provider

STOP_POLLING = 286  # by which htmx knows


@contextmanager
def about_the_address() -> Iterator[None]:
    """The form has one address, which the service counts among all of the provider's."""
    try:
        yield
    except InvalidBody as error:
        raise InvalidBody(
            {"address": [why for reasons in error.fields.values() for why in reasons]}
        ) from error


class ServersView(OrgPage):
    required_permission: ClassVar[Permission | dict[str, Permission]] = "org:models:write"

    def provider(self, provider_id: str) -> Provider:
        return find(Provider.objects.visible_to(self.org), provider_id)

    def endpoint(self, provider_id: str, endpoint_id: str) -> Endpoint:
        provider = self.provider(provider_id)
        provider_services.require_own(provider, self.org)
        return find(provider.endpoints.select_related("provider"), endpoint_id)

    def context(self, found: list[standing.Server], **more: Any) -> dict[str, Any]:
        """Of a provider that one does not manage, no address, no load and no words of its server."""
        may_write = "org:models:write" in self.permissions
        own = self.org.pk
        return {
            "servers": [
                (
                    one,
                    may_write and provider_services.is_managed(one.provider, self.org, self.user),
                    may_write and one.provider.org_id == own,
                )
                for one in found
            ],
            "can_write": may_write,
            "fingerprint": standing.fingerprint(found),
            "kinds": Provider.Kind.choices,
            **more,
        }

    def show(self, message: str) -> HttpResponse:
        context = self.context(standing.servers(self.org), message=message)
        return render(self.request, "llm_routing/partials/servers_update.html", context)


class ServersPage(ServersView):
    """All who may read see which there are and how they are; a new one is its maker's to name."""

    required_permission = {"GET": "org:experiments:read", "POST": "org:models:write"}

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return render(request, "llm_routing/servers.html", self.context(standing.servers(self.org)))

    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        form = NewProviderForm(request.POST)
        given = checked(form)
        facts = {name: given[name] for name in ("name", "slug", "kind", "api_key")}
        with about_the_address():
            provider = provider_services.create_provider(
                org=self.org, actor=self.user, endpoints=[form.place], **facts
            )
        return self.show(f"{provider.name} is there. Test its connection, then sync its models.")


class HealthPartial(ServersView):
    """What changes by itself on the page, until that shows other endpoints than there are."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        found = standing.servers(self.org)
        now = standing.fingerprint(found)
        if request.GET.get("shown", now) != now:
            return render(request, "llm_routing/partials/servers_stale.html", status=STOP_POLLING)
        return render(request, "llm_routing/partials/servers_health.html", self.context(found))


class SaveProvider(ServersView):
    def post(self, request: HttpRequest, org_id: str, provider_id: str) -> HttpResponse:
        provider = self.provider(provider_id)
        form = ProviderForm(request.POST)
        checked(form)
        provider_services.update_provider(provider, org=self.org, actor=self.user, **form.changes())
        return self.show(f"{provider.name} is saved.")


class DeleteProvider(ServersView):
    def post(self, request: HttpRequest, org_id: str, provider_id: str) -> HttpResponse:
        provider = self.provider(provider_id)
        provider_services.delete_provider(provider, org=self.org, actor=self.user)
        return self.show(f"{provider.name} is deleted.")


class PutEndpoint(ServersView):
    def put_place(self, provider: Provider, instead_of: Endpoint | None) -> HttpResponse:
        """With a word on the key, where the new address has wiped it."""
        form = EndpointForm(self.request.POST)
        key = checked(form)["api_key"]
        had_key = bool(provider.api_key)
        with about_the_address():
            provider_services.put_endpoint(
                provider, form.place, org=self.org, actor=self.user, instead_of=instead_of, api_key=key
            )
        provider.refresh_from_db(fields=["api_key"])
        wiped = had_key and not provider.api_key
        hint = " Its key was taken away, since the address is new: enter it again." if wiped else ""
        return self.show(f"{form.place['base_url']} is saved.{hint}")


class AddEndpoint(PutEndpoint):
    def post(self, request: HttpRequest, org_id: str, provider_id: str) -> HttpResponse:
        return self.put_place(self.provider(provider_id), None)


class SaveEndpoint(PutEndpoint):
    def post(self, request: HttpRequest, org_id: str, provider_id: str, endpoint_id: str) -> HttpResponse:
        endpoint = self.endpoint(provider_id, endpoint_id)
        return self.put_place(endpoint.provider, endpoint)


class DeleteEndpoint(ServersView):
    def post(self, request: HttpRequest, org_id: str, provider_id: str, endpoint_id: str) -> HttpResponse:
        endpoint = self.endpoint(provider_id, endpoint_id)
        provider_services.remove_endpoint(endpoint, org=self.org, actor=self.user)
        return self.show(f"{endpoint.base_url} is removed.")
