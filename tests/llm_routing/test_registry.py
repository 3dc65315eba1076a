"""Models: kept in step with their servers, and found for an org."""

from __future__ import annotations

import pytest

from llm_routing import registry
from llm_routing.errors import ModelNotFound, ProviderUnavailable
from llm_routing.models import RegisteredModel
from tests import factories
from tests.fakes.ollama import DIGEST, FakeOllama, model
from tests.fakes.server import json_script

pytestmark = pytest.mark.django_db


def test_models_are_added_updated_and_kept_when_they_are_gone(org):
    with FakeOllama() as server:
        provider = factories.make_model("old:1b", base_url=server.url).provider
        result = registry.sync_provider(provider)
        assert (result.added, result.gone) == (["llama3.2:1b"], ["old:1b"])
        found = RegisteredModel.objects.get(name="llama3.2:1b")
        assert (found.digest, found.context_tokens, found.available) == (DIGEST, 131_072, True)
        assert RegisteredModel.objects.get(name="old:1b").available is False
        server.enqueue(json_script({"models": [model(context_length=8192), model("old:1b")]}))
        again = registry.sync_provider(provider)
        assert again.updated == ["llama3.2:1b", "old:1b"]


def test_a_server_that_is_down_changes_nothing(org):
    provider = factories.make_model().provider
    with pytest.raises(ProviderUnavailable):
        registry.sync_provider(provider)
    assert RegisteredModel.objects.get().available is True


def test_the_default_is_used_only_where_nothing_is_named(org):
    default = factories.make_model()
    with pytest.raises(ModelNotFound):
        registry.resolve(org, None, None)
    factories.set_default_model(org, default)
    assert registry.resolve(org, None, None) == default
    assert registry.resolve(org, "ollama", "tiny:1b") == default
    for provider, name in [(None, "nope"), ("other", None), ("other", "tiny:1b")]:
        with pytest.raises(ModelNotFound):
            registry.resolve(org, provider, name)


def test_a_name_without_a_tag_means_latest(org):
    factories.make_model("llama3:latest")
    assert registry.resolve(org, "ollama", "llama3").name == "llama3:latest"


def test_another_org_s_and_a_closed_model_are_not_found(org):
    other = factories.make_org()
    factories.make_model("theirs:1b", org=other, slug="own")
    closed = factories.make_model("closed:1b", open_to_all=False)
    for provider, name in [("own", "theirs:1b"), ("ollama", "closed:1b")]:
        with pytest.raises(ModelNotFound):
            registry.resolve(org, provider, name)
    closed.allowed_orgs.add(org)
    assert registry.resolve(org, "ollama", "closed:1b") == closed


def test_an_org_s_own_provider_hides_a_shared_one_of_its_name(org):
    factories.make_model("tiny:1b")
    own = factories.make_model("tiny:1b", org=org)
    assert registry.resolve(org, "ollama", "tiny:1b") == own
