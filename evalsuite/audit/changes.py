"""One row written, changed or removed, with its audit event in the same transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import IntegrityError, models, transaction

from evalsuite.audit.services import length_and_hash, record
from evalsuite.crypto import EncryptedTextField
from evalsuite.errors import Conflict
from evalsuite.orgs.models import Org, User

LONGEST_JSON = 2_000  # characters; a larger value is told by its length and hash
HIDDEN = "(a secret)"


def create(row: models.Model, event: str, *, org: Org, actor: User | None, facts: Mapping[str, Any]) -> None:
    """Save a new row; `facts` are what the event tells. Raises Conflict where it exists already."""
    with transaction.atomic():
        save(row, force_insert=True)
        record(event, org=org, actor=actor, subject=row, after=facts)


def update(
    row: models.Model, event: str, *, org: Org, actor: User | None, changes: Mapping[str, Any]
) -> None:
    """Set the fields of `changes` (names of the model). Without a difference nothing is written.

    Raises Conflict where another row has the name that must be its own.
    """
    names = [name for name, value in changes.items() if getattr(row, name) != value]
    if not names:
        return
    before = told(row, names)
    for name in names:
        setattr(row, name, changes[name])
    dates = [field.name for field in row._meta.fields if getattr(field, "auto_now", False)]
    with transaction.atomic():
        save(row, update_fields=[*names, *dates])
        record(event, org=org, actor=actor, subject=row, before=before, after=told(row, names))


def delete(
    row: models.Model,
    event: str,
    *,
    org: Org,
    actor: User | None,
    facts: Mapping[str, Any] | None = None,
    kept_by: tuple[str, ...] = (),
) -> None:
    """Remove a row that nothing needs. Raises Conflict with the number of the rows in `kept_by` that do."""
    with transaction.atomic():
        users = {name: getattr(row, name).count() for name in kept_by}
        users = {name: count for name, count in users.items() if count}
        if users:
            counts = " and ".join(f"{count:,} {name}" for name, count in users.items())
            raise Conflict(f"This {kind_of(row)} is kept by {counts}.", **users)
        record(event, org=org, actor=actor, subject=row, before=facts)
        row.delete()


def kind_of(row: models.Model) -> str:
    """The word that the wire uses for this kind of row."""
    return str(getattr(row, "wire_name", row._meta.verbose_name))


def told(row: models.Model, names: Iterable[str]) -> dict[str, Any]:
    """These fields of a row as an event tells them: wire names, ids for rows, no large JSON, no secret."""
    facts = {}
    for name in names:
        field = row._meta.get_field(name)
        attribute = field.attname  # type: ignore[union-attr]
        value = getattr(row, attribute)
        plain = (HIDDEN if value else "") if _is_secret(field) else _plain(value)
        facts[re.sub("_(.)", lambda match: match[1].upper(), attribute)] = plain
    return facts


def _is_secret(field: Any) -> bool:
    return isinstance(field, EncryptedTextField) or field.name == "password" or field.name.endswith("_hash")


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list):
        text = json.dumps(value, sort_keys=True)
        return value if len(text) <= LONGEST_JSON else length_and_hash(text, "characters of JSON")
    return value if value is None or isinstance(value, str | int | float) else str(value)


def save(row: models.Model, **options: Any) -> None:
    """Save without an event. Raises Conflict where another row has the name that must be its own."""
    try:
        with transaction.atomic():
            row.save(**options)
    except IntegrityError as error:
        key = getattr(row, "key", None)
        raise Conflict(
            f"There is already another {kind_of(row)} {key or ''}".rstrip() + ".", key=key
        ) from error
