"""Variants: what a prompt's settings may be, and that they come back as they went in."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from experiments.models import ExperimentVariant
from tests import factories


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=1)


@pytest.fixture
def url(org, experiment):
    return f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/variants"


GOOD_CONFIGS = [
    {},
    {"promptTemplate": "Label: {{ input }}", "modelProvider": "ollama", "modelName": "tiny:1b"},
    {"temperature": 0, "topP": 1, "maxTokens": 32768, "seed": -1, "stop": ["\n"], "numCtx": 256},
    {"temperature": 2.0, "topP": 0, "maxTokens": 1, "format": "json", "think": "high"},
    {"format": {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}}, "think": False},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "maxTokens": None},
    {"my_key": {"deep": [1, None, {"camelCase": "snake_case"}]}, "num_ctx": "kept as it is"},
]

BAD_CONFIGS = [
    ("promptTemplate", 5),
    ("modelProvider", ["ollama"]),
    ("modelName", ""),
    ("temperature", 3),
    ("temperature", -0.1),
    ("temperature", "0.7"),
    ("temperature", True),
    ("temperature", 10**400),
    ("topP", -0.1),
    ("topP", 1.01),
    ("maxTokens", 0),
    ("maxTokens", 40_000),
    ("maxTokens", 1.5),
    ("seed", "x"),
    ("seed", 2**70),
    ("stop", "\n"),
    ("stop", ["x"] * 17),
    ("stop", [""]),
    ("format", "yaml"),
    ("format", {"type": "obejct"}),
    ("format", {"$schema": {}}),
    ("numCtx", 255),
    ("numCtx", 2_000_000),
    ("think", "hard"),
    ("think", 1),
    ("think", []),
    ("tools", {}),
    ("tools", ["calculator"]),
]


def test_create_answers_201_with_the_variant(api, org, experiment, url):
    profile = factories.make_profile(org)
    body = {"name": "terse", "chatProfileId": str(profile.pk), "systemPrompt": " Be brief.\n"}
    response = api.post(url, body, format="json")
    assert response.status_code == 201
    variant = response.json()["variant"]
    assert variant["experimentId"] == str(experiment.pk)
    assert variant["chatProfileId"] == str(profile.pk)
    assert variant["systemPrompt"] == " Be brief.\n"
    assert variant["config"] == {}
    assert AuditEvent.objects.get().event == "experiment.variant.created"


@pytest.mark.parametrize("config", GOOD_CONFIGS)
def test_config_comes_back_as_it_went_in(api, url, config):
    created = api.post(url, {"name": "v", "config": config}, format="json").json()["variant"]
    assert created["config"] == config
    assert api.get(f"{url}/{created['id']}").json()["variant"]["config"] == config


@pytest.mark.parametrize(("key", "value"), BAD_CONFIGS)
def test_a_bad_value_of_a_known_key_is_400_naming_it(api, url, key, value):
    response = api.post(url, {"name": "v", "config": {key: value}}, format="json")
    assert response.status_code == 400
    assert all(name.startswith(f"config.{key}") for name in response.json()["details"])
    assert not ExperimentVariant.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "n" * 129}, "name"),
        ({"name": "v", "systemPrompt": "s" * 1_000_001}, "systemPrompt"),
        ({"name": "v", "config": "json"}, "config"),
        ({"name": "v", "chatProfileId": 7}, "chatProfileId"),
        ({"name": "v", "temperature": 1}, "temperature"),
    ],
)
def test_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])


@pytest.mark.parametrize("profile_id", ["nonsense", "01890000-0000-7000-8000-000000000000", "foreign"])
def test_an_unknown_or_foreign_profile_is_404(api, url, profile_id):
    if profile_id == "foreign":
        profile_id = str(factories.make_profile(factories.make_org()).pk)
    response = api.post(url, {"name": "v", "chatProfileId": profile_id}, format="json")
    assert (response.status_code, response.json()["error"]) == (404, "CHAT_PROFILE_NOT_FOUND")


def test_patch_clears_the_profile_with_null_and_keeps_it_when_left_out(api, org, experiment, url):
    variant = ExperimentVariant.objects.create(
        experiment=experiment, name="v", chat_profile=factories.make_profile(org)
    )
    kept = api.patch(f"{url}/{variant.pk}", {"name": "w"}, format="json").json()["variant"]
    assert kept["chatProfileId"] == str(variant.chat_profile_id)
    cleared = api.patch(f"{url}/{variant.pk}", {"chatProfileId": None}, format="json").json()["variant"]
    assert cleared["chatProfileId"] is None
    event = AuditEvent.objects.first()
    assert event.before == {"chatProfileId": str(variant.chat_profile_id)}


def test_list(api, org, url):
    for name in ("first", "second"):
        api.post(url, {"name": name}, format="json")
    assert [row["name"] for row in api.get(url).json()["variants"]] == ["second", "first"]


def test_delete(api, url):
    variant = api.post(url, {"name": "v"}, format="json").json()["variant"]
    assert api.delete(f"{url}/{variant['id']}").status_code == 204
    response = api.get(f"{url}/{variant['id']}")
    assert (response.status_code, response.json()["error"]) == (404, "VARIANT_NOT_FOUND")


def test_a_variant_with_runs_is_kept(api, experiment, url):
    variant = ExperimentVariant.objects.create(experiment=experiment, name="v")
    factories.make_run(experiment, variant=variant)
    response = api.delete(f"{url}/{variant.pk}")
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    assert response.json()["details"]["runs"] == 1


def test_a_variant_of_another_experiment_is_404(api, org, url):
    other = factories.make_experiment(org, variants=1)
    assert api.get(f"{url}/{other.variants.get().pk}").status_code == 404
