"""Django's command, with an audit event."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management.commands import createsuperuser

from evalsuite.orgs.management.saving import each_account_leaves


class Command(createsuperuser.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        with each_account_leaves("account.created"):
            return super().handle(*args, **options)
