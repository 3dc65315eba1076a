"""Who signs in with a password, and whose session it is."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from evalsuite.ids import parse_id
from evalsuite.orgs.models import USER, User


class AccountBackend(ModelBackend):
    """Django's, which would compose the query for a session's user anew with each page."""

    def get_user(self, user_id: Any) -> User | None:
        known = parse_id(str(user_id))
        user = USER.first(known) if known else None
        return user if user is not None and self.user_can_authenticate(user) else None
