"""`manage.py sync_models`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from evalsuite.audit.models import AuditEvent
from llm_routing.models import Endpoint, Provider, RegisteredModel
from tests import factories


@pytest.fixture
def provider(db, fake_ollama):
    """The shared one, at a server that answers."""
    provider = Provider.objects.create(slug="ollama", name="Ollama", kind="ollama")
    Endpoint.objects.create(provider=provider, base_url=fake_ollama.url)
    return provider


def run(*arguments):
    out, errors = StringIO(), StringIO()
    try:
        call_command("sync_models", *arguments, stdout=out, stderr=errors)
    except CommandError as error:
        return out.getvalue(), f"{errors.getvalue()}{error}"
    return out.getvalue(), errors.getvalue()


def test_it_registers_the_models_and_says_so(provider):
    assert run() == ("ollama (shared): 1 added, 0 updated, 0 gone\n", "")
    assert RegisteredModel.objects.get().name == "llama3.2:1b"
    assert AuditEvent.objects.get().event == "provider.synced"


def test_one_that_fails_stops_no_other(provider, org):
    factories.make_model(org=org, slug="dead")
    told, errors = run()
    assert "1 added" in told
    assert f"dead ({org.slug})" in errors
    assert "Not asked: dead." in errors


def test_it_can_be_narrowed_down(provider, org):
    factories.make_model(org=org, slug="dead")
    assert run("--provider", "ollama")[1] == ""
    assert "Not asked: dead." in run("--org", org.slug)[1]


def test_nothing_to_ask_is_an_error(db):
    assert "no such provider" in run("--provider", "nowhere")[1]
