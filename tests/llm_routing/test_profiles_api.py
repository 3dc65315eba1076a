"""Chat profiles: what they hold, and that each change makes a new version."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from experiments.models import ExperimentVariant
from llm_routing.models import RegisteredModel
from tests import factories

BODY = {"name": "Helper", "modelName": "tiny:1b"}


@pytest.fixture
def url(org):
    factories.make_model("tiny:1b")
    factories.make_model("other:latest")
    return f"/api/v1/orgs/{org.pk}/chat-profiles"


def error(response):
    return response.status_code, response.json()["error"]


def test_a_profile_is_created_with_the_usual_settings(api, url, org, alice):
    response = api.post(url, BODY, format="json")
    assert response.status_code == 201
    profile = response.json()["chatProfile"]
    assert (profile["modelProvider"], profile["temperature"], profile["topP"]) == ("ollama", 0.7, 1.0)
    assert (profile["systemPrompt"], profile["maxTokens"], profile["version"]) == ("", None, 1)
    assert api.get(f"{url}/{profile['id']}").json() == response.json()
    event = AuditEvent.objects.get()
    assert (event.event, event.actor, event.after["name"]) == ("chat_profile.created", alice, "Helper")


def test_the_list_is_newest_first_and_of_this_org_alone(api, url, org):
    factories.make_profile(factories.make_org())
    for name in ("a", "b"):
        factories.make_profile(org, name)
    assert [row["name"] for row in api.get(url).json()["chatProfiles"]] == ["b", "a"]


def test_the_model_is_written_down_as_the_registry_has_it(api, url):
    profile = api.post(url, {**BODY, "modelName": "other"}, format="json").json()["chatProfile"]
    assert profile["modelName"] == "other:latest"


@pytest.mark.parametrize("change", [{"modelName": "no:such"}, {"modelProvider": "nowhere"}])
def test_an_unknown_model_is_404(api, url, org, change):
    assert error(api.post(url, {**BODY, **change}, format="json")) == (404, "MODEL_NOT_FOUND")
    row = factories.make_profile(org)
    assert error(api.patch(f"{url}/{row.pk}", change, format="json")) == (404, "MODEL_NOT_FOUND")
    assert not AuditEvent.objects.exists()


def test_a_model_of_another_orgs_provider_is_404(api, url):
    factories.make_model("secret:1b", org=factories.make_org(), slug="theirs")
    body = {**BODY, "modelProvider": "theirs", "modelName": "secret:1b"}
    assert error(api.post(url, body, format="json")) == (404, "MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 129),
        ("modelName", None),
        ("temperature", 2.1),
        ("temperature", "1"),
        ("temperature", True),
        ("topP", -0.1),
        ("maxTokens", 0),
        ("maxTokens", 32769),
        ("maxTokens", 1.5),
        ("systemPrompt", 1),
        ("version", 7),
    ],
)
def test_a_bad_value_is_400_naming_the_field(api, url, field, value):
    response = api.post(url, {**BODY, field: value}, format="json")
    assert error(response) == (400, "INVALID_BODY")
    assert list(response.json()["details"]) == [field]


def test_each_change_makes_the_next_version(api, url, org):
    row = factories.make_profile(org)
    for version, prompt in ((2, "Be brief."), (3, "Be long.")):
        response = api.patch(f"{url}/{row.pk}", {"systemPrompt": prompt}, format="json")
        assert response.json()["chatProfile"]["version"] == version
    event = AuditEvent.objects.filter(event="chat_profile.updated").order_by("id").last()
    assert event.before == {"systemPrompt": "Be brief.", "version": 2}
    assert event.after == {"systemPrompt": "Be long.", "version": 3}


@pytest.mark.parametrize("body", [{}, {"name": "Helper"}, {"modelName": "tiny:1b"}])
def test_without_a_difference_the_version_stays(api, url, org, body):
    row = factories.make_profile(org)
    assert api.patch(f"{url}/{row.pk}", body, format="json").json()["chatProfile"]["version"] == 1
    assert not AuditEvent.objects.exists()


def test_a_limit_of_tokens_is_taken_away_with_null(api, url, org):
    row = factories.make_profile(org, max_tokens=100)
    response = api.patch(f"{url}/{row.pk}", {"maxTokens": None}, format="json")
    assert response.json()["chatProfile"]["maxTokens"] is None


def test_a_name_is_taken_once(api, url, org):
    factories.make_profile(org, "Helper")
    other = factories.make_profile(org, "Other")
    assert error(api.post(url, BODY, format="json")) == (409, "CONFLICT")
    assert error(api.patch(f"{url}/{other.pk}", {"name": "Helper"}, format="json")) == (409, "CONFLICT")


def test_a_profile_is_deleted_unless_a_variant_uses_it(api, url, org):
    row = factories.make_profile(org)
    variant = ExperimentVariant.objects.create(
        experiment=factories.make_experiment(org), name="v", chat_profile=row
    )
    response = api.delete(f"{url}/{row.pk}")
    assert error(response) == (409, "CONFLICT")
    assert response.json()["details"]["variants"] == 1
    assert not AuditEvent.objects.exists()
    variant.delete()
    assert api.delete(f"{url}/{row.pk}").status_code == 204
    assert AuditEvent.objects.get().event == "chat_profile.deleted"


def test_another_orgs_profile_is_404(api, url):
    row = factories.make_profile(factories.make_org())
    for method in ("get", "patch", "delete"):
        response = getattr(api, method)(f"{url}/{row.pk}", {"name": "mine"}, format="json")
        assert error(response) == (404, "CHAT_PROFILE_NOT_FOUND")


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("rater", 403), ("editor", 201)])
def test_editors_write_and_everybody_reads(url, org, role, status):
    client = APIClient()
    client.force_authenticate(factories.make_user(org=org, role=role))
    assert client.get(url).status_code == 200
    response = client.post(url, BODY, format="json")
    assert response.status_code == status
    if status == 403:
        assert response.json()["details"]["permission"] == "org:profiles:write"


def test_every_version_is_kept_with_its_author_and_its_time(api, url, org, alice):
    at = f"{url}/{api.post(url, BODY, format='json').json()['chatProfile']['id']}"
    api.patch(at, {"systemPrompt": "Be brief.", "maxTokens": 9}, format="json")
    api.patch(at, {"systemPrompt": "Be brief."}, format="json")
    answer = api.get(f"{at}/versions").json()
    told = [(one["version"], one["systemPrompt"], one["maxTokens"]) for one in answer["versions"]]
    assert told == [(2, "Be brief.", 9), (1, "", None)]
    assert {one["author"]["id"] for one in answer["versions"]} == {str(alice.pk)}
    assert answer["versions"][0]["createdAt"] >= answer["versions"][1]["createdAt"]


def test_versions_come_page_by_page(api, url, org):
    row = factories.make_profile(org)
    for number in range(4):
        api.patch(f"{url}/{row.pk}", {"temperature": number / 4}, format="json")
    first = api.get(f"{url}/{row.pk}/versions?limit=3").json()
    rest = api.get(first["next"]).json()
    assert [one["version"] for one in first["versions"] + rest["versions"]] == [5, 4, 3, 2, 1]
    assert rest["next"] is None


def test_an_earlier_version_is_brought_back_as_a_new_one(api, url, org):
    row = factories.make_profile(org)
    api.patch(f"{url}/{row.pk}", {"systemPrompt": "Worse.", "temperature": 2}, format="json")
    response = api.post(f"{url}/{row.pk}/versions/1/restore")
    profile = response.json()["chatProfile"]
    assert response.status_code == 200
    assert (profile["version"], profile["systemPrompt"], profile["temperature"]) == (3, "You are kind.", 0.7)
    versions = api.get(f"{url}/{row.pk}/versions").json()["versions"]
    assert [(one["version"], one["restoredFrom"]) for one in versions] == [(3, 1), (2, None), (1, None)]
    event = AuditEvent.objects.order_by("id").last()
    assert (event.event, event.after["version"]) == ("chat_profile.restored", 3)


def test_to_restore_what_it_says_now_makes_no_version(api, url, org):
    row = factories.make_profile(org)
    assert api.post(f"{url}/{row.pk}/versions/1/restore").json()["chatProfile"]["version"] == 1
    assert not AuditEvent.objects.exists()


def test_a_version_whose_model_is_gone_is_not_restored(api, url, org):
    row = factories.make_profile(org)
    api.patch(f"{url}/{row.pk}", {"modelName": "other"}, format="json")
    RegisteredModel.objects.filter(name="tiny:1b").update(available=False)
    assert error(api.post(f"{url}/{row.pk}/versions/1/restore")) == (404, "MODEL_NOT_FOUND")
    assert api.get(f"{url}/{row.pk}").json()["chatProfile"]["version"] == 2


def test_a_version_whose_name_another_has_now_is_not_restored(api, url, org):
    row = factories.make_profile(org)
    api.patch(f"{url}/{row.pk}", {"name": "Second"}, format="json")
    factories.make_profile(org, "Helper")
    assert error(api.post(f"{url}/{row.pk}/versions/1/restore")) == (409, "CONFLICT")
    assert row.versions.count() == 2


@pytest.mark.parametrize("number", ["2", "0", "-1", "one", "9" * 30, "²"])
def test_a_version_that_never_was_is_404(api, url, org, number):
    row = factories.make_profile(org)
    response = api.post(f"{url}/{row.pk}/versions/{number}/restore")
    assert error(response) == (404, "CHAT_PROFILE_VERSION_NOT_FOUND")


def test_versions_of_another_orgs_profile_are_404(api, url):
    row = factories.make_profile(factories.make_org())
    for response in (
        api.get(f"{url}/{row.pk}/versions"),
        api.post(f"{url}/{row.pk}/versions/1/restore"),
    ):
        assert error(response) == (404, "CHAT_PROFILE_NOT_FOUND")


def test_readers_read_versions_and_restore_none(url, org):
    row = factories.make_profile(org)
    client = APIClient()
    client.force_authenticate(factories.make_user(org=org, role="viewer"))
    assert client.get(f"{url}/{row.pk}/versions").status_code == 200
    response = client.post(f"{url}/{row.pk}/versions/1/restore")
    assert response.json()["details"]["permission"] == "org:profiles:write"
