"""The pages of profiles and models: what they find, what they refuse, and how many queries they take."""

from __future__ import annotations

import pytest

from llm_routing import services
from llm_routing.models import ChatProfile, Provider, RegisteredModel
from llm_routing.versions import changed_names, changes_between
from tests import factories
from tests.fakes.ollama import FakeOllama

KEY = "sk-very-secret"


@pytest.fixture
def app(client, alice, org):
    client.force_login(alice)
    return f"/app/orgs/{org.pk}"


@pytest.fixture
def own(org):
    model = factories.make_model("mine:7b", org=org, slug="own")
    Provider.objects.filter(pk=model.provider_id).update(api_key=KEY)
    return model


FORM = {"name": "New", "system_prompt": "a\r\nb", "temperature": "0.5", "top_p": "1", "max_tokens": ""}


def test_a_profile_is_made_and_saved_with_the_line_ends_of_rows(client, app, org, own):
    made = client.post(f"{app}/profiles/new", {**FORM, "model": str(own.pk)})
    profile = ChatProfile.objects.get()
    assert (made.status_code, made["HX-Redirect"]) == (200, f"{app}/profiles/{profile.pk}")
    assert (profile.system_prompt, profile.model_name, profile.max_tokens) == ("a\nb", "mine:7b", None)
    client.post(f"{app}/profiles/{profile.pk}/save", FORM)
    profile.refresh_from_db()
    assert profile.version == 1  # nothing was changed


def test_a_profile_whose_model_is_gone_can_be_saved_all_the_same(client, app, org):
    profile = factories.make_profile(org, model_name="gone:1b")
    assert "gone:1b · ollama (not there now)" in client.get(f"{app}/profiles/{profile.pk}").content.decode()
    client.post(f"{app}/profiles/{profile.pk}/save", {**FORM, "model": ""})
    profile.refresh_from_db()
    assert (profile.version, profile.name, profile.model_name) == (2, "New", "gone:1b")


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("temperature", "nan"), ("temperature", "3"), ("top_p", ""), ("max_tokens", "0")],
)
def test_a_bad_field_is_refused_by_name(client, app, org, own, field, value):
    answer = client.post(f"{app}/profiles/new", {**FORM, "model": str(own.pk), field: value})
    assert (answer.status_code, field in answer.content.decode()) == (400, True)
    assert not ChatProfile.objects.exists()


def test_another_orgs_rows_are_404(client, app, org, own):
    elsewhere = factories.make_org()
    model = factories.make_model("theirs:1b", org=elsewhere, slug="theirs")
    profile = factories.make_profile(elsewhere)
    mine = factories.make_profile(org, model_provider="own", model_name="mine:7b")
    at = f"{app}/profiles/{profile.pk}"
    answers = [
        client.get(at),
        client.get(f"{at}/versions/1"),
        client.post(f"{at}/versions/1/restore"),
        client.post(f"{at}/save", FORM),
        client.post(f"{at}/delete"),
        client.get(f"{app}/profiles/{mine.pk}/versions/2"),
        client.post(f"{app}/profiles/new", {**FORM, "model": str(model.pk)}),
        client.post(f"{app}/models/{model.pk}/context", {"num_ctx": "512"}),
        client.post(f"{app}/models/default", {"model": str(model.pk)}),
        client.post(f"{app}/models/providers/{model.provider_id}/sync"),
        client.post(f"{app}/models/providers/{model.provider_id}/test"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert "theirs" not in client.get(f"{app}/models").content.decode()


def test_keys_and_shared_addresses_are_on_no_page(client, app, org, own):
    factories.make_model(base_url="http://10.0.0.7:11434")
    text = client.get(f"{app}/models").content.decode()
    assert "set, never shown" in text
    assert KEY not in text
    assert "10.0.0.7" not in text


def test_a_superuser_manages_shared_servers_too(client, org):
    with FakeOllama() as fake:
        shared = factories.make_model(base_url=fake.url)
        client.force_login(factories.make_user(is_superuser=True))
        at = f"/app/orgs/{org.pk}/models"
        assert fake.url in client.get(at).content.decode()
        assert "Reachable" in client.post(f"{at}/providers/{shared.provider_id}/test").content.decode()
        client.post(f"{at}/providers/{shared.provider_id}/sync")
    assert RegisteredModel.objects.filter(name="llama3.2:1b").exists()


def test_an_admin_does_not(client, app, org):
    shared = factories.make_model()
    for action in ("sync", "test"):
        assert client.post(f"{app}/models/providers/{shared.provider_id}/{action}").status_code == 403
    assert client.post(f"{app}/models/{shared.pk}/context", {"num_ctx": "512"}).status_code == 403


def test_the_queries_do_not_grow_with_the_rows(client, app, org, alice, own, django_assert_max_num_queries):
    profile = factories.make_profile(org, model_provider="own", model_name="mine:7b")
    for number in range(15):
        factories.make_model(f"m:{number}", org=org, slug=f"own{number % 5}")
        services.update_profile(profile, actor=alice, temperature=number / 10)
    with django_assert_max_num_queries(14):
        client.get(f"{app}/models")
    with django_assert_max_num_queries(18):
        client.get(f"{app}/profiles/{profile.pk}")


def test_what_a_version_changed_is_told_over_the_edge_of_a_page(org, alice):
    profile = factories.make_profile(org, max_tokens=9)
    services.update_profile(profile, actor=alice, system_prompt="You are brief.")
    services.update_profile(profile, actor=alice, max_tokens=None, temperature=1.0)
    third, second, first = profile.versions.all()
    told = [
        [names for _, names in changed_names(profile, rows)] for rows in ([third], [third, second, first])
    ]
    assert told == [
        [["temperature", "max tokens"]],
        [["temperature", "max tokens"], ["system prompt"], []],
    ]
    changes = changes_between(second, third)
    pieces = {change.label: [(piece.kind, piece.text) for piece in change.pieces] for change in changes}
    assert pieces == {
        "Temperature": [("removed", "0.7"), ("added", "1")],
        "Max tokens": [("removed", "9"), ("added", "no limit")],
    }


@pytest.mark.parametrize(
    ("name", "details", "cloud"),
    [
        ("gpt-oss:120b-cloud", {}, True),
        ("glm:cloud", {}, True),
        ("mine:7b", {"remote_host": "https://ollama.com"}, True),
        ("cloud:7b", {}, False),
        ("cloudy", {}, False),
    ],
)
def test_a_hosted_model_is_known_by_its_name_or_by_what_the_server_tells(org, name, details, cloud):
    assert factories.make_model(name, details=details).is_cloud is cloud
    plain = factories.make_model(name, slug="vllm", kind="openai_compatible")
    assert plain.is_cloud is False
