"""After a new key was put first in FIELD_ENCRYPTION_KEYS: write all stored secrets anew with it."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand

from evalsuite.crypto import EncryptedTextField, rotate


class Command(BaseCommand):
    help = (
        "Re-encrypt every stored secret with the first of FIELD_ENCRYPTION_KEYS. Then the others can go. "
        "May run while the product does, and again. Fails, changing nothing in that table, where no key fits."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for model in apps.get_models():
            for field in model._meta.local_fields:
                if isinstance(field, EncryptedTextField):
                    count = rotate(model, field)
                    self.stdout.write(f"{model._meta.label}.{field.name}: {count} re-encrypted")
