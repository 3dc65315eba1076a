"""For commands of Django that write accounts: what they do is in the audit log like any other change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models.signals import post_save

from evalsuite.audit.services import record
from evalsuite.orgs.models import User


@contextmanager
def each_account_leaves(event: str) -> Iterator[None]:
    """Every account that is saved meanwhile leaves the event, in the transaction that saves it.

    The actor is nobody: whoever may run commands is known to the operating system alone.
    """

    def note(instance: User, **_: Any) -> None:
        record(event, org=None, actor=None, subject=instance, after=told(instance))

    post_save.connect(note, sender=User)
    try:
        yield
    finally:
        post_save.disconnect(note, sender=User)


def told(user: User) -> dict[str, Any]:
    return {"username": user.get_username(), "superuser": user.is_superuser, "way": "command"}
