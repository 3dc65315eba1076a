"""Secrets at rest: encrypted with the first key, read with any, and written anew when a key is replaced."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection

from llm_routing.models import Provider
from tests import factories

SECRET = "sk-at-rest"
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def provider(db, settings):
    """With a key, stored under the old key of the field."""
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    provider = factories.make_model().provider
    provider.api_key = SECRET
    provider.save()
    factories.make_model(slug="keyless")
    return provider


def stored(provider):
    with connection.cursor() as cursor:
        column = "SELECT api_key FROM llm_routing_provider WHERE slug = %s"
        cursor.execute(column, [provider.slug])
        return cursor.fetchone()[0]


def test_the_column_holds_no_secret(provider):
    assert SECRET not in stored(provider)
    assert Fernet(OLD).decrypt(stored(provider)) == SECRET.encode()


def test_rotation_encrypts_with_the_first_key_and_the_old_one_can_go(provider, settings, capsys):
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    assert Provider.objects.get(pk=provider.pk).api_key == SECRET
    call_command("rotate_field_keys")
    assert "llm_routing.Provider.api_key: 1 re-encrypted" in capsys.readouterr().out
    assert Fernet(NEW).decrypt(stored(provider)) == SECRET.encode()
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert Provider.objects.get(pk=provider.pk).api_key == SECRET
    assert Provider.objects.get(slug="keyless").api_key == ""


def test_rotation_without_the_old_key_fails_and_changes_nothing(provider, settings):
    before = stored(provider)
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(ImproperlyConfigured, match="None of FIELD_ENCRYPTION_KEYS") as refused:
        call_command("rotate_field_keys")
    assert NEW not in str(refused.value)
    assert stored(provider) == before


def test_a_lost_key_is_no_empty_secret(provider, settings):
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(ImproperlyConfigured, match="None of FIELD_ENCRYPTION_KEYS"):
        Provider.objects.get(pk=provider.pk)
