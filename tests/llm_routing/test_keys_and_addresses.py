"""A provider's key goes to the server that it was entered for: another scheme, host or port wipes it.

At each door through which an address can be changed.
"""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from experiments import serving
from llm_routing.models import Endpoint, Provider
from tests import factories
from tests.admin.helpers import provider_form, url

KEY = "sk-very-secret"
HERE = "http://8.8.8.8:8080"
ELSEWHERE = {"scheme": "https://8.8.8.8:8080", "host": "http://8.8.4.4:8080", "port": "http://8.8.8.8:8081"}


@pytest.fixture
def root(client, db):
    client.force_login(factories.make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def make(db):
    def make(org=None):
        provider = factories.make_model(org=org, base_url=HERE).provider
        provider.api_key = KEY
        provider.save()
        return provider

    return make


def by_api(provider, address, api, root):
    body = {"endpoints": [{"baseUrl": address}]}
    answer = api.patch(f"/api/v1/orgs/{provider.org_id}/providers/{provider.pk}", body, format="json")
    assert answer.status_code == 200
    assert KEY not in answer.content.decode()


def by_admin_of_the_provider(provider, address, api, root):
    form = provider_form(provider, **{"endpoints-0-base_url": address})
    assert root.post(url(Provider, "change", provider.pk), form).status_code == 302


def by_admin_of_the_endpoint(provider, address, api, root):
    body = {"provider": provider.pk, "base_url": address, "slots": 1, "weight": 1, "enabled": "on"}
    page = url(Endpoint, "change", provider.endpoints.get().pk)
    assert root.post(page, body).status_code == 302


def by_another_endpoint_in_the_admin(provider, address, api, root):
    body = {"provider": provider.pk, "base_url": address, "slots": 1, "weight": 1, "enabled": "on"}
    assert root.post(url(Endpoint, "add"), body).status_code == 302


def by_start_of_the_product(provider, address, api, root):
    serving._shared_provider("ollama", address, name="Ollama", kind="ollama")


OWN_DOORS = [by_api, by_admin_of_the_provider, by_admin_of_the_endpoint, by_another_endpoint_in_the_admin]


@pytest.mark.parametrize("change", ELSEWHERE)
@pytest.mark.parametrize("door", [*OWN_DOORS, by_start_of_the_product])
def test_another_address_wipes_the_key(make, org, api, root, door, change):
    provider = make(org if door in OWN_DOORS else None)
    door(provider, ELSEWHERE[change], api, root)
    provider.refresh_from_db()
    assert provider.api_key == ""
    assert provider.endpoints.filter(base_url=ELSEWHERE[change]).exists()
    told = str(list(AuditEvent.objects.values("event", "before", "after")))
    assert "Key" in told or "api_key" in told
    assert KEY not in told


@pytest.mark.parametrize("door", [*OWN_DOORS[:3], by_start_of_the_product])
def test_the_same_address_keeps_it(make, org, api, root, door):
    provider = make(org if door in OWN_DOORS else None)
    door(provider, HERE, api, root)
    provider.refresh_from_db()
    assert provider.api_key == KEY


def test_no_page_and_no_answer_has_the_key(make, org, alice, api, root, client):
    provider = make(org)
    answers = [
        api.get(f"/api/v1/orgs/{org.pk}/providers"),
        api.get(f"/api/v1/orgs/{org.pk}/providers/{provider.pk}"),
        root.get(url(Provider, "changelist")),
        root.get(url(Provider, "change", provider.pk)),
        root.get(url(Provider, "history", provider.pk)),
        root.get(f"/app/orgs/{org.pk}/models"),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert not any(KEY in answer.content.decode() for answer in answers)
