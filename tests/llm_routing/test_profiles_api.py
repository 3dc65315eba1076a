"""Chat profiles: named, versioned, and never about a model that the org may not call."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from experiments.models import ExperimentVariant
from llm_routing.models import ChatProfile
from tests import factories


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/chat-profiles"


@pytest.fixture(autouse=True)
def model(db):
    return factories.make_model()


def signed_in(user):
    client = APIClient()
    client.force_authenticate(user)
    return client


def test_create_with_a_name_and_a_model_alone(api, alice, url):
    response = api.post(url, {"name": "Helper", "modelName": "tiny:1b"}, format="json")
    assert response.status_code == 201
    profile = response.json()["chatProfile"]
    assert (profile["modelProvider"], profile["modelName"]) == ("ollama", "tiny:1b")
    assert (profile["temperature"], profile["topP"], profile["maxTokens"]) == (0.7, 1.0, None)
    assert (profile["systemPrompt"], profile["version"]) == ("", 1)
    event = AuditEvent.objects.get()
    assert (event.event, event.actor, event.object_id) == ("chat_profile.created", alice, profile["id"])


def test_create_with_everything(api, url):
    body = {
        "name": "Judge",
        "systemPrompt": "  Be strict.\n",
        "modelProvider": "ollama",
        "modelName": "tiny:1b",
        "temperature": 0,
        "topP": 0.5,
        "maxTokens": 32768,
    }
    profile = api.post(url, body, format="json").json()["chatProfile"]
    assert {name: profile[name] for name in body} == body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " "),
        ("name", None),
        ("name", "n" * 129),
        ("name", 5),
        ("modelName", ""),
        ("modelName", None),
        ("modelProvider", 1),
        ("systemPrompt", ["a"]),
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("temperature", "0.7"),
        ("temperature", True),
        ("topP", -0.1),
        ("topP", 1.1),
        ("maxTokens", 0),
        ("maxTokens", 40000),
        ("maxTokens", 1.5),
        ("colour", "red"),
    ],
)
def test_a_bad_field_is_400_naming_it_and_nothing_is_kept(api, url, field, value):
    body = {"name": "Helper", "modelName": "tiny:1b", field: value}
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])
    assert not ChatProfile.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("missing", ["name", "modelName"])
def test_name_and_model_are_needed(api, url, missing):
    body = {"name": "Helper", "modelName": "tiny:1b"}
    del body[missing]
    assert list(api.post(url, body, format="json").json()["details"]) == [missing]


@pytest.mark.parametrize("more", [{"modelName": "huge"}, {"modelProvider": "elsewhere"}])
def test_an_unknown_model_is_404(api, url, more):
    response = api.post(url, {"name": "Helper", "modelName": "tiny:1b", **more}, format="json")
    assert (response.status_code, response.json()["error"]) == (404, "MODEL_NOT_FOUND")


def test_a_model_of_another_org_is_404(api, url):
    factories.make_model("secret", slug="theirs", org=factories.make_org())
    body = {"name": "Helper", "modelProvider": "theirs", "modelName": "secret"}
    assert api.post(url, body, format="json").json()["error"] == "MODEL_NOT_FOUND"


def test_a_name_that_exists_is_409_in_this_org_alone(api, org, url):
    factories.make_profile(factories.make_org(), "Helper")
    body = {"name": "Helper", "modelName": "tiny:1b"}
    assert api.post(url, body, format="json").status_code == 201
    response = api.post(url, body, format="json")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    assert ChatProfile.objects.for_org(org).count() == 1


def test_list_and_read_are_of_this_org_alone(api, org, url):
    mine, theirs = factories.make_profile(org), factories.make_profile(factories.make_org())
    assert [row["id"] for row in api.get(url).json()["chatProfiles"]] == [str(mine.pk)]
    assert api.get(f"{url}/{mine.pk}").json()["chatProfile"]["systemPrompt"] == "You are kind."
    response = api.get(f"{url}/{theirs.pk}")
    assert (response.status_code, response.json()["error"]) == (404, "CHAT_PROFILE_NOT_FOUND")


def test_each_change_makes_the_next_version(api, org, url):
    profile = factories.make_profile(org)
    one = f"{url}/{profile.pk}"
    assert api.patch(one, {"temperature": 1}, format="json").json()["chatProfile"]["version"] == 2
    changed = api.patch(one, {"maxTokens": 5, "systemPrompt": ""}, format="json").json()["chatProfile"]
    assert (changed["version"], changed["temperature"], changed["maxTokens"]) == (3, 1.0, 5)
    assert AuditEvent.objects.filter(event="chat_profile.updated").count() == 2


@pytest.mark.parametrize("body", [{}, {"temperature": 0.7}, {"name": "Helper", "modelName": "tiny:1b"}])
def test_a_change_that_changes_nothing_makes_none(api, org, url, body):
    profile = factories.make_profile(org)
    assert api.patch(f"{url}/{profile.pk}", body, format="json").json()["chatProfile"]["version"] == 1
    assert not AuditEvent.objects.exists()


def test_a_change_to_an_unknown_model_is_404_and_changes_nothing(api, org, url):
    profile = factories.make_profile(org)
    body = {"modelName": "huge", "temperature": 0}
    response = api.patch(f"{url}/{profile.pk}", body, format="json")
    assert (response.status_code, response.json()["error"]) == (404, "MODEL_NOT_FOUND")
    profile.refresh_from_db()
    assert (profile.version, profile.temperature) == (1, 0.7)


def test_a_profile_whose_model_is_gone_can_still_be_renamed(api, org, model, url):
    profile = factories.make_profile(org)
    model.delete()
    assert api.patch(f"{url}/{profile.pk}", {"name": "Old"}, format="json").status_code == 200


def test_a_change_to_a_name_that_exists_is_409(api, org, url):
    factories.make_profile(org, "One")
    two = factories.make_profile(org, "Two")
    assert api.patch(f"{url}/{two.pk}", {"name": "One"}, format="json").status_code == 409


def test_delete(api, org, url):
    profile = factories.make_profile(org)
    assert api.delete(f"{url}/{profile.pk}").status_code == 204
    assert api.delete(f"{url}/{profile.pk}").status_code == 404
    assert AuditEvent.objects.get().event == "chat_profile.deleted"


def test_a_profile_that_a_variant_uses_is_kept(api, org, url):
    profile = factories.make_profile(org)
    ExperimentVariant.objects.create(
        experiment=factories.make_experiment(org), name="v", chat_profile=profile
    )
    response = api.delete(f"{url}/{profile.pk}")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    assert ChatProfile.objects.filter(pk=profile.pk).exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(("role", "writes"), [("editor", True), ("rater", False), ("viewer", False)])
def test_everybody_reads_and_the_right_to_write_is_named(org, url, role, writes):
    profile = factories.make_profile(org)
    client = signed_in(factories.make_user(org=org, role=role))
    assert client.get(url).status_code == 200
    response = client.patch(f"{url}/{profile.pk}", {"temperature": 1}, format="json")
    assert response.status_code == (200 if writes else 403)
    if not writes:
        assert response.json()["details"]["permission"] == "org:profiles:write"
