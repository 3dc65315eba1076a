"""Keys for programs: made once, kept as digests, of use while their maker is a member."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.errors import Forbidden, InvalidBody, Unauthenticated
from evalsuite.orgs.models import ApiKey, Org, User
from evalsuite.orgs.permissions import FOR_KEYS, Permission

PREFIX = "evs_"  # by which people, log filters and secret scanners know one
HINT_LENGTH = len(PREFIX) + 6
LONGEST_DAYS, USUAL_DAYS = 365, 90
USE_IS_NOTED_EVERY = timedelta(minutes=1)


def create_key(
    *, org: Org, actor: User, name: str, permissions: Collection[Permission], days: int = USUAL_DAYS
) -> tuple[ApiKey, str]:
    """The row and the key itself, which is nowhere after this.

    Raises InvalidBody for no permission or one that no key may have, Forbidden for one that the actor lacks.
    """
    wanted = frozenset(permissions)
    if not wanted or wanted - FOR_KEYS:
        never = f"A key can never have {', '.join(sorted(wanted - FOR_KEYS))}."
        raise InvalidBody({"permissions": [never if wanted else "Choose at least one."]})
    if lacking := sorted(wanted - org.permissions_of(actor)):
        raise Forbidden(lacking[0])
    token = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        org=org,
        creator=actor,
        name=name,
        hint=token[:HINT_LENGTH],
        digest=_digest(token),
        permissions=sorted(wanted),
        expires_at=timezone.now() + timedelta(days=days),
    )
    facts = changes.told(key, ["name", "hint", "expires_at"]) | {"permissions": key.permissions}
    changes.create(key, "apikey.created", org=org, actor=actor, facts=facts)
    return key, token


@transaction.atomic
def revoke(key: ApiKey, *, actor: User) -> None:
    """From the next request on it opens nothing. Once more is no change."""
    now = timezone.now()
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
        key.revoked_at = now
        facts = changes.told(key, ["name", "hint"])
        record("apikey.revoked", org=key.org, actor=actor, subject=key, before=facts)


def holder(token: str) -> User:
    """Whoever made this key, in memory with the rights of the key alone.

    Raises Unauthenticated for a key that is unknown, revoked or expired, and when its maker is gone or
    has no rights in the org any more.
    """
    key = ApiKey.objects.select_related("creator", "org").filter(digest=_digest(token)).first()
    now = timezone.now()
    if key is None or key.revoked_at or key.is_expired(now) or not key.org.permissions_of(key.creator):
        raise Unauthenticated("This key is not valid, or not any more.")
    _note_use(key, now)
    user = key.creator
    # Whatever asks for these, and not for a permission, is not for programs.
    user.is_superuser = user.is_staff = False
    user.acting_key = key
    return user


def _note_use(key: ApiKey, now: datetime) -> None:
    """To the minute, so that not every request writes."""
    before = now - USE_IS_NOTED_EVERY
    if key.last_used_at is None or key.last_used_at <= before:
        stale = Q(last_used_at=None) | Q(last_used_at__lte=before)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def _digest(token: str) -> str:
    """Fast on purpose: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()
