"""Secrets at rest: encrypted in the column, readable only by code that asks for them."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.db.models.functions import Cast

NO_KEY_FITS = "None of FIELD_ENCRYPTION_KEYS opens a stored secret."


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_ENCRYPTION_KEYS])


class EncryptedTextField(models.TextField):
    """Text that is stored encrypted by the first of FIELD_ENCRYPTION_KEYS and read by any of them.

    Raises ImproperlyConfigured when no key fits: a lost key must be noticed, not read as "no secret".
    """

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return _cipher().encrypt(text.encode()).decode() if text else text

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        if not value:
            return value
        try:
            return _cipher().decrypt(value.encode()).decode()
        except InvalidToken as error:
            raise ImproperlyConfigured(NO_KEY_FITS) from error


@transaction.atomic
def rotate(model: type[models.Model], field: EncryptedTextField) -> int:
    """Encrypt this column anew with the first key; how many rows had a secret.

    Raises ImproperlyConfigured, with nothing changed, where no key fits one of them.
    """
    stored = Cast(field.name, models.TextField())  # as it is in the column
    rows = model._base_manager.select_for_update().annotate(stored=stored).exclude(stored="")
    count = 0
    for pk, text in rows.values_list("pk", "stored"):
        if not text:
            continue
        try:
            anew = _cipher().rotate(text.encode()).decode()
        except InvalidToken as error:
            raise ImproperlyConfigured(NO_KEY_FITS) from error
        as_text = models.Value(anew, models.TextField())
        count += model._base_manager.filter(pk=pk).update(**{field.name: as_text})
    return count
