"""An org's own providers: keys that never come back, addresses that are checked, models that are found."""

from __future__ import annotations

import json

import pytest
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from evalsuite.ids import new_id
from llm_routing.models import Endpoint, Provider, RegisteredModel
from tests import factories
from tests.audit.events import forget_events
from tests.fakes.ollama import model, refusal
from tests.fakes.server import json_script

HERE, THERE = "http://8.8.8.8:11434", "http://8.8.4.4:11434"
BODY = {"slug": "gpu", "name": "GPU", "kind": "ollama", "endpoints": [{"baseUrl": HERE, "slots": 2}]}
KEY = "sk-very-secret"


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/providers"


@pytest.fixture
def provider(api, url):
    """One of the org's own, with a key; its fields as the API tells them."""
    response = api.post(url, {**BODY, "apiKey": KEY}, format="json")
    forget_events()
    return response.json()["provider"]


@pytest.fixture
def shared(db):
    return factories.make_model().provider


def row(provider):
    return Provider.objects.get(pk=provider["id"])


def error(response):
    return response.status_code, response.json()["error"]


def test_a_provider_is_created_and_read_back(api, url, org, alice):
    response = api.post(url, {**BODY, "connectTimeout": 1.5}, format="json")
    assert response.status_code == 201
    told = response.json()["provider"]
    assert (told["slug"], told["shared"], told["hasApiKey"], told["enabled"]) == ("gpu", False, False, True)
    assert (told["connectTimeout"], told["totalTimeout"]) == (1.5, 300)
    assert [(place["baseUrl"], place["slots"]) for place in told["endpoints"]] == [(HERE, 2)]
    assert api.get(f"{url}/{told['id']}").json() == response.json()
    event = AuditEvent.objects.get()
    assert (event.event, event.org, event.actor) == ("provider.created", org, alice)
    assert event.after["addresses"] == [HERE]


def test_a_key_is_kept_encrypted_and_never_shown(api, url, provider):
    assert provider["hasApiKey"] is True
    assert row(provider).api_key == KEY
    api.patch(f"{url}/{provider['id']}", {"apiKey": "sk-another"}, format="json")
    shown = [api.get(url).content, api.get(f"{url}/{provider['id']}").content]
    kept = [json.dumps([event.before, event.after]).encode() for event in AuditEvent.objects.all()]
    assert kept
    for text in shown + kept:
        assert KEY.encode() not in text
        assert b"sk-another" not in text
    assert (AuditEvent.objects.get().before, AuditEvent.objects.get().after) == (
        {"hasApiKey": True},
        {"hasApiKey": True},
    )


@pytest.mark.parametrize("place", [{"baseUrl": THERE}, {"baseUrl": "http://8.8.8.8:11435"}])
def test_another_address_wipes_the_key(api, url, provider, place):
    response = api.patch(f"{url}/{provider['id']}", {"endpoints": [place]}, format="json")
    assert (response.status_code, response.json()["provider"]["hasApiKey"]) == (200, False)
    assert row(provider).api_key == ""


def test_an_address_that_is_added_wipes_the_key_too(api, url, provider):
    places = [{"baseUrl": HERE, "slots": 2}, {"baseUrl": THERE}]
    api.patch(f"{url}/{provider['id']}", {"endpoints": places}, format="json")
    assert row(provider).api_key == ""


def test_another_address_with_the_key_sent_anew_keeps_it(api, url, provider):
    body = {"endpoints": [{"baseUrl": THERE}], "apiKey": KEY}
    assert api.patch(f"{url}/{provider['id']}", body, format="json").json()["provider"]["hasApiKey"] is True


def test_other_changes_keep_the_key_and_the_endpoints_row(api, url, provider):
    body = {"name": "New", "enabled": False, "endpoints": [{"baseUrl": f"{HERE}/", "slots": 8}]}
    told = api.patch(f"{url}/{provider['id']}", body, format="json").json()["provider"]
    assert (told["name"], told["enabled"], told["hasApiKey"]) == ("New", False, True)
    assert told["endpoints"] == [{**provider["endpoints"][0], "slots": 8}]
    event = AuditEvent.objects.get()
    before, after = ({HERE: {"slots": slots, "weight": 1, "enabled": True}} for slots in (2, 8))
    assert event.before == {"name": "GPU", "enabled": True, "endpoints": before}
    assert event.after == {"name": "New", "enabled": False, "endpoints": after}


def test_an_endpoint_is_switched_off_and_stays_so_where_nothing_is_said(api, url, provider):
    off = [{"baseUrl": HERE, "enabled": False}]
    told = api.patch(f"{url}/{provider['id']}", {"endpoints": off}, format="json").json()["provider"]
    assert told["endpoints"][0]["enabled"] is False
    again = [{"baseUrl": HERE, "slots": 9}]
    told = api.patch(f"{url}/{provider['id']}", {"endpoints": again}, format="json").json()["provider"]
    assert (told["endpoints"][0]["slots"], told["endpoints"][0]["enabled"]) == (9, False)


def test_endpoints_have_weights(api, url, provider):
    places = [{"baseUrl": HERE, "weight": 3}, {"baseUrl": THERE}]
    told = api.patch(f"{url}/{provider['id']}", {"endpoints": places}, format="json").json()["provider"]
    assert {place["baseUrl"]: place["weight"] for place in told["endpoints"]} == {HERE: 3, THERE: 1}
    assert AuditEvent.objects.get().after["endpoints"][HERE] == {"slots": 4, "weight": 3, "enabled": True}


def test_without_a_difference_there_is_no_event(api, url, provider):
    assert api.patch(f"{url}/{provider['id']}", {"name": "GPU"}, format="json").status_code == 200
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:11434",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "ftp://8.8.8.8",
        "http://a:b@8.8.8.8",
    ],
)
def test_an_address_that_is_not_allowed_is_400_naming_it(api, url, provider, address):
    places = [{"baseUrl": HERE}, {"baseUrl": address}]
    for response in (
        api.post(url, {**BODY, "slug": "other", "endpoints": places}, format="json"),
        api.patch(f"{url}/{provider['id']}", {"endpoints": places}, format="json"),
    ):
        assert error(response) == (400, "INVALID_BODY")
        assert list(response.json()["details"]) == ["endpoints.1.baseUrl"]
    assert Endpoint.objects.count() == 1
    assert row(provider).api_key == KEY


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("slug", {"slug": "no slug"}),
        ("kind", {"kind": "other"}),
        ("apiKey", {"apiKey": "a\nb"}),
        ("apiKey", {"apiKey": "ключ"}),
        ("endpoints", {"endpoints": []}),
        ("endpoints.0.slots", {"endpoints": [{"baseUrl": HERE, "slots": 0}]}),
        ("endpoints.0.weight", {"endpoints": [{"baseUrl": HERE, "weight": 101}]}),
        ("endpoints.1.baseUrl", {"endpoints": [{"baseUrl": HERE}, {"baseUrl": f"{HERE}/"}]}),
        ("totalTimeout", {"totalTimeout": 0}),
        ("isToy", {"isToy": True}),
    ],
)
def test_a_bad_value_is_400_naming_the_field(api, url, field, change):
    response = api.post(url, {**BODY, **change}, format="json")
    assert error(response) == (400, "INVALID_BODY")
    assert list(response.json()["details"]) == [field]


@pytest.mark.parametrize("places", [[{}], [{"slots": 2}], [1], {}, [None]])
def test_an_endpoint_is_named_whole_also_in_a_change(api, url, provider, places):
    assert error(api.patch(f"{url}/{provider['id']}", {"endpoints": places}, format="json")) == (
        400,
        "INVALID_BODY",
    )


def test_slug_and_kind_stay(api, url, provider):
    for body in ({"slug": "x"}, {"kind": "openai_compatible"}):
        assert error(api.patch(f"{url}/{provider['id']}", body, format="json")) == (400, "INVALID_BODY")


def test_a_slug_is_taken_once_in_an_org(api, url, provider, shared):
    assert error(api.post(url, BODY, format="json")) == (409, "CONFLICT")
    assert api.post(url, {**BODY, "slug": shared.slug}, format="json").status_code == 201


def test_a_provider_is_deleted_with_its_models(api, url, provider):
    RegisteredModel.objects.create(provider=row(provider), name="m")
    assert api.delete(f"{url}/{provider['id']}").status_code == 204
    assert not Provider.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.event, event.before["models"]) == ("provider.deleted", 1)


def test_a_shared_provider_is_listed_without_telling_where_it_is(api, url, shared):
    (told,) = api.get(url).json()["providers"]
    assert (told["id"], told["shared"], told["endpoints"]) == (str(shared.pk), True, [])


def test_a_shared_provider_cannot_be_changed(api, url, shared):
    at = f"{url}/{shared.pk}"
    for response in (api.patch(at, {"name": "x"}, format="json"), api.delete(at), api.post(f"{at}/sync")):
        assert error(response) == (403, "FORBIDDEN")
    shared.refresh_from_db()
    assert shared.name == "ollama"


def test_another_orgs_provider_is_404(api, url):
    other = factories.make_model(org=factories.make_org()).provider
    assert api.get(url).json()["providers"] == []
    for provider_id in (other.pk, new_id(), "x"):
        at = f"{url}/{provider_id}"
        for response in (api.get(at), api.patch(at, {"name": "x"}), api.delete(at), api.post(f"{at}/sync")):
            assert error(response) == (404, "PROVIDER_NOT_FOUND")


@pytest.mark.parametrize("role", ["viewer", "rater", "editor"])
def test_other_roles_read_and_do_not_write(url, org, provider, role):
    client = APIClient()
    client.force_authenticate(factories.make_user(org=org, role=role))
    assert client.get(url).status_code == 200
    at = f"{url}/{provider['id']}"
    for response in (client.post(url, BODY), client.patch(at), client.delete(at), client.post(f"{at}/sync")):
        assert (error(response), response.json()["details"]["permission"]) == (
            (403, "FORBIDDEN"),
            "org:models:write",
        )


@pytest.fixture
def reachable(api, url, settings, fake_ollama):
    """One of the org's own, at a server that answers."""
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    body = {**BODY, "endpoints": [{"baseUrl": fake_ollama.url}]}
    return api.post(url, body, format="json").json()["provider"]


def test_sync_registers_what_the_server_lists(api, url, reachable, fake_ollama):
    at = f"{url}/{reachable['id']}/sync"
    response = api.post(at)
    assert (response.status_code, response.json()) == (
        200,
        {"added": ["llama3.2:1b"], "updated": [], "gone": []},
    )
    fake_ollama.enqueue(json_script({"models": [model("new:1b")]}))
    assert api.post(at).json() == {"added": ["new:1b"], "updated": [], "gone": ["llama3.2:1b"]}
    event = AuditEvent.objects.filter(event="provider.synced").order_by("id").last()
    assert event.after == {"added": 1, "updated": 0, "gone": 1}


def test_sync_with_a_server_that_fails_changes_nothing(api, url, reachable, fake_ollama):
    fake_ollama.enqueue(*[refusal(500, "broken")] * 4)
    response = api.post(f"{url}/{reachable['id']}/sync")
    assert response.status_code in {502, 503}
    assert not RegisteredModel.objects.exists()


def test_sync_does_not_ask_an_address_that_is_not_allowed_any_more(
    api, url, reachable, settings, fake_ollama
):
    settings.PRIVATE_PROVIDER_NETWORKS = []
    assert error(api.post(f"{url}/{reachable['id']}/sync")) == (400, "ADDRESS_NOT_ALLOWED")
    assert not fake_ollama.requests
