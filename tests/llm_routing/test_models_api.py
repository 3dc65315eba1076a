"""The models of an org, their context, and its default."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from llm_routing.models import ModelDefault, RegisteredModel
from tests import factories


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/models"


@pytest.fixture
def default_url(org):
    return f"/api/v1/orgs/{org.pk}/default-model"


@pytest.fixture
def own(org):
    return factories.make_model("mine:7b", org=org, slug="own")


@pytest.fixture
def shared(db):
    return factories.make_model("tiny:1b")


def error(response):
    return response.status_code, response.json()["error"]


def test_the_list_has_own_and_shared_models_newest_first(api, url, shared, own):
    factories.make_model("theirs:1b", org=factories.make_org(), slug="theirs")
    rows = api.get(url).json()["models"]
    assert [(row["modelProvider"], row["modelName"], row["shared"]) for row in rows] == [
        ("own", "mine:7b", False),
        ("ollama", "tiny:1b", True),
    ]
    assert (rows[0]["contextTokens"], rows[0]["numCtx"], rows[0]["digest"]) == (4096, None, "d1g357")


def test_a_model_kept_for_other_orgs_is_not_there(api, url, org, shared):
    RegisteredModel.objects.update(open_to_all=False)
    shared.allowed_orgs.add(factories.make_org())
    assert api.get(url).json()["models"] == []
    assert error(api.get(f"{url}/{shared.pk}")) == (404, "MODEL_NOT_FOUND")
    shared.allowed_orgs.add(org)
    assert len(api.get(url).json()["models"]) == 1


def test_an_own_model_that_is_gone_is_still_listed_as_such(api, url, own, shared):
    RegisteredModel.objects.update(available=False)
    (row,) = api.get(url).json()["models"]
    assert (row["id"], row["available"]) == (str(own.pk), False)


def test_the_number_of_queries_does_not_grow_with_the_models(api, url, org, django_assert_max_num_queries):
    for number in range(20):
        factories.make_model(f"m:{number}", org=org, slug="own")
    with django_assert_max_num_queries(4):
        assert len(api.get(url).json()["models"]) == 20


def test_the_context_is_set_and_taken_back(api, url, own):
    for num_ctx in (2048, None):
        response = api.patch(f"{url}/{own.pk}", {"numCtx": num_ctx}, format="json")
        assert (response.status_code, response.json()["model"]["numCtx"]) == (200, num_ctx)
    event = AuditEvent.objects.order_by("id").first()
    assert (event.event, event.before, event.after) == ("model.updated", {"numCtx": None}, {"numCtx": 2048})


@pytest.mark.parametrize("num_ctx", [0, 127, 4097, "2048", 1.5, True])
def test_a_context_that_the_model_does_not_have_is_400(api, url, own, num_ctx):
    response = api.patch(f"{url}/{own.pk}", {"numCtx": num_ctx}, format="json")
    assert (error(response), list(response.json()["details"])) == ((400, "INVALID_BODY"), ["numCtx"])


def test_an_own_model_is_deleted(api, url, own):
    assert api.delete(f"{url}/{own.pk}").status_code == 204
    assert not RegisteredModel.objects.exists()
    assert AuditEvent.objects.get().before == {"modelProvider": "own", "modelName": "mine:7b"}


def test_a_shared_model_cannot_be_changed(api, url, shared):
    at = f"{url}/{shared.pk}"
    for response in (api.patch(at, {"numCtx": 512}, format="json"), api.delete(at)):
        assert error(response) == (403, "FORBIDDEN")


def test_another_orgs_model_is_404(api, url):
    other = factories.make_model("theirs:1b", org=factories.make_org(), slug="theirs")
    at = f"{url}/{other.pk}"
    for response in (api.get(at), api.patch(at, {"numCtx": 512}, format="json"), api.delete(at)):
        assert error(response) == (404, "MODEL_NOT_FOUND")


def test_without_a_default_there_is_none_to_read(api, default_url):
    assert error(api.get(default_url)) == (404, "MODEL_NOT_FOUND")


def test_the_default_is_set_and_set_anew(api, default_url, org, shared, own):
    first = api.put(default_url, {"modelName": "tiny:1b"}, format="json")
    assert (first.status_code, first.json()["model"]["id"]) == (200, str(shared.pk))
    second = api.put(default_url, {"modelProvider": "own", "modelName": "mine:7b"}, format="json")
    assert api.get(default_url).json() == second.json()
    assert ModelDefault.objects.get(org=org).model == own
    event = AuditEvent.objects.order_by("id").last()
    assert event.event == "org.default_model.changed"
    assert (event.before["modelName"], event.after["modelName"]) == ("tiny:1b", "mine:7b")


def test_the_same_default_again_is_no_change(api, default_url, shared):
    for _ in range(2):
        assert api.put(default_url, {"modelName": "tiny:1b"}, format="json").status_code == 200
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize("body", [{"modelName": "no:such"}, {"modelProvider": "own", "modelName": "tiny:1b"}])
def test_a_default_that_the_org_may_not_call_is_404(api, default_url, shared, body):
    assert error(api.put(default_url, body, format="json")) == (404, "MODEL_NOT_FOUND")


def test_other_roles_read_and_do_not_write(url, default_url, org, own):
    client = APIClient()
    client.force_authenticate(factories.make_user(org=org, role="editor"))
    assert client.get(url).status_code == 200
    at = f"{url}/{own.pk}"
    for response in (client.patch(at), client.delete(at), client.put(default_url)):
        assert error(response) == (403, "FORBIDDEN")
        assert response.json()["details"]["permission"] == "org:models:write"


def test_a_toy_and_the_orgs_default_are_told(api, org):
    plain = factories.make_model("plain:1b")
    toy = factories.make_model("toy:1b", slug="embedded", kind="openai_compatible")
    toy.provider.is_toy = True
    toy.provider.save()
    factories.set_default_model(org, plain)
    factories.set_default_model(factories.make_org(), toy)
    models = api.get(f"/api/v1/orgs/{org.pk}/models").json()["models"]
    told = {model["modelName"]: (model["isToy"], model["isDefault"]) for model in models}
    assert told == {"plain:1b": (False, True), "toy:1b": (True, False)}
