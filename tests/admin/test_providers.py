from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from llm_routing.models import ChatProfile, Endpoint, ModelDefault, Provider
from tests import factories
from tests.admin.helpers import (
    KEY,
    act,
    provider_form,
    url,
)


def test_the_key_is_kept_replaced_and_cleared_and_told_nowhere(root, experiment):
    provider = Provider.objects.get()
    page = url(Provider, "change", provider.pk)

    def key_after(**fields):
        answer = root.post(page, provider_form(provider, **fields))
        assert answer.status_code == 302, answer.context["errors"]
        provider.refresh_from_db()
        return provider.api_key

    assert key_after() == KEY
    assert key_after(api_key="sk-new") == "sk-new"
    assert key_after(clear_key="on") == ""
    told = str(list(AuditEvent.objects.values_list("before", "after")))
    assert told.count("apiKey") == 4
    assert "sk-" not in told


def test_a_changed_address_clears_the_key_unless_a_new_one_comes_along(root, experiment, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    provider = Provider.objects.get()
    page = url(Provider, "change", provider.pk)
    elsewhere = {"endpoints-0-base_url": "http://127.0.0.1:10/"}
    root.post(page, provider_form(provider, **elsewhere))
    provider.refresh_from_db()
    assert provider.api_key == ""
    root.post(
        page, provider_form(provider, api_key="sk-new", **{"endpoints-0-base_url": "http://127.0.0.1:11/"})
    )
    provider.refresh_from_db()
    assert provider.api_key == "sk-new"
    endpoint = provider.endpoints.get()
    data = {
        "provider": provider.pk,
        "base_url": "http://127.0.0.1:12/",
        "slots": 1,
        "weight": 2,
        "enabled": "on",
    }
    assert root.post(url(Endpoint, "change", endpoint.pk), data).status_code == 302
    provider.refresh_from_db()
    assert provider.api_key == ""


def test_a_provider_is_made_with_its_endpoint_on_a_private_name(root, experiment):
    provider = Provider.objects.get()
    new = {
        "org": "",
        "slug": "second",
        "endpoints-INITIAL_FORMS": "0",
        "endpoints-0-id": "",
        "endpoints-0-provider": "",
        "endpoints-0-base_url": "http://ollama:11434",
        "api_key": "sk-new",
    }
    answer = root.post(url(Provider, "add"), provider_form(provider, **new))
    assert answer.status_code == 302, answer.context["errors"]
    made = Provider.objects.get(slug="second")
    assert made.api_key == "sk-new"
    assert made.endpoints.get().base_url == "http://ollama:11434"


def test_an_orgs_provider_stays_out_of_private_networks_whoever_adds_it(root, experiment):
    provider = Provider.objects.get()
    new = {"slug": "second", "endpoints-INITIAL_FORMS": "0", "endpoints-0-id": "", "endpoints-0-provider": ""}
    answer = root.post(url(Provider, "add"), provider_form(provider, **new))
    assert "private network" in answer.content.decode()
    assert not Provider.objects.filter(slug="second").exists()


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "http://", "http://a b", "http://u:p@host", "http://h:99999", "ollama:11434", "http://[x"],
)
def test_an_endpoints_address_is_checked(root, experiment, address):
    provider = Provider.objects.get()
    data = {"provider": provider.pk, "base_url": address, "slots": 1, "weight": 1}
    assert root.post(url(Endpoint, "add"), data).status_code == 200
    assert provider.endpoints.count() == 1


def test_an_address_is_taken_once(root, experiment, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    provider = Provider.objects.get()
    endpoint = provider.endpoints.get()
    data = {"provider": provider.pk, "base_url": endpoint.base_url, "slots": 1, "weight": 1}
    assert root.post(url(Endpoint, "add"), data).status_code == 200
    twice = {
        "endpoints-TOTAL_FORMS": "3",
        **{f"endpoints-{n}-base_url": "http://127.0.0.1:11" for n in (1, 2)},
        **{f"endpoints-{n}-{field}": "1" for n in (1, 2) for field in ("slots", "weight")},
        **{f"endpoints-{n}-provider": str(provider.pk) for n in (1, 2)},
    }
    assert (
        root.post(url(Provider, "change", provider.pk), provider_form(provider, **twice)).status_code == 200
    )
    assert provider.endpoints.count() == 1


def test_a_used_provider_can_be_deleted_with_its_slots(root, experiment):
    provider = Provider.objects.get()
    assert root.post(url(Provider, "delete", provider.pk), {"post": "yes"}).status_code == 302
    assert not Provider.objects.exists()


def test_an_orgs_staff_may_name_and_ask_public_servers_only(signed_in, experiment, ollama_that_lists):
    client = signed_in("admin")
    provider = Provider.objects.get()
    new = {"endpoints-0-base_url": "http://127.0.0.1:5432"}
    assert (
        client.post(url(Provider, "change", provider.pk), provider_form(provider, **new)).status_code == 200
    )
    data = {"provider": provider.pk, "base_url": "http://169.254.169.254", "slots": 1, "weight": 1}
    assert client.post(url(Endpoint, "add"), data).status_code == 200
    assert provider.endpoints.get().base_url == "http://127.0.0.1:9"
    provider.endpoints.update(base_url=ollama_that_lists.url)  # as a superuser may
    act(client, Provider, "synchronise", provider)
    assert ollama_that_lists.requests == []
    data["base_url"] = "http://8.8.8.8"
    assert client.post(url(Endpoint, "add"), data).status_code == 302
    provider.refresh_from_db()
    assert provider.api_key == ""


def test_a_key_is_not_shown_again_in_a_form_with_a_fault(root, experiment):
    provider = Provider.objects.get()
    data = provider_form(provider, name="", api_key="sk-mistyped")
    answer = root.post(url(Provider, "change", provider.pk), data)
    assert answer.status_code == 200
    assert "sk-mistyped" not in answer.content.decode()


def test_a_profile_is_for_a_model_that_is_there(root, experiment):
    profile = ChatProfile.objects.get()
    slug = Provider.objects.get().slug
    data = {"org": profile.org_id, "name": "P", "temperature": "0.5", "top_p": "1", "system_prompt": " x\r\n"}
    page = url(ChatProfile, "change", profile.pk)
    answer = root.post(page, {**data, "model_provider": slug, "model_name": "none:1b"})
    assert "has no model none:1b" in answer.content.decode()
    answer = root.post(page, {**data, "model_provider": slug, "model_name": "tiny:1b"})
    assert answer.status_code == 302
    profile.refresh_from_db()
    assert (profile.version, profile.system_prompt) == (2, " x\n")
    kept = profile.versions.values_list("number", "system_prompt", "author__username")
    assert list(kept) == [(2, " x\n", "root"), (1, "You are kind.", None)]


def test_the_default_is_a_model_that_the_org_may_call(root, experiment):
    default = ModelDefault.objects.get()
    closed = factories.make_model("closed:1b", open_to_all=False)
    page = url(ModelDefault, "change", default.pk)
    assert root.post(page, {"org": default.org_id, "model": closed.pk}).status_code == 200
    closed.allowed_orgs.add(default.org)
    assert root.post(page, {"org": default.org_id, "model": closed.pk}).status_code == 302
