"""What a stream stands on: an account, what it may do in an org, and how it showed who it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request

from evalsuite.orgs.models import USER, ApiKey, Org, User
from evalsuite.orgs.permissions import Permission

sessions = import_module(settings.SESSION_ENGINE)


@dataclass(frozen=True, slots=True)
class Standing:
    """Ask it, and it says whether all of that still holds (a few queries).

    A new password ends it, as it ends tokens and sessions; the end of a token's few minutes does not.
    """

    user_id: UUID
    org_id: UUID
    permission: Permission
    password: str = field(repr=False)  # its hash, as it was
    session: str | None = field(default=None, repr=False)  # the session's key, where it came with one
    key: ApiKey | None = None  # of a program, which has nothing to do with its maker's password

    @classmethod
    def of(cls, request: Request, org: Org, permission: Permission) -> Standing:
        user = cast("User", request.user)
        by_session = isinstance(request.successful_authenticator, SessionAuthentication)
        session = request.session.session_key if by_session else None
        return cls(user.pk, org.pk, permission, user.password, session, user.acting_key)

    def __call__(self) -> bool:
        user = USER.first(self.user_id)
        if user is None or not (self.key or user.password == self.password):
            return False
        user.acting_key = self.key
        if self.permission not in Org(pk=self.org_id).permissions_of(user):
            return False
        return self.session is None or self._is_signed_in(self.session)

    def _is_signed_in(self, session: str) -> bool:
        return bool(sessions.SessionStore(session).load().get(SESSION_KEY) == str(self.user_id))
