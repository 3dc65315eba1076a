"""Invitations by link: made once, kept as digests, good for one person."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from evalsuite import context
from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.errors import Conflict, NotFound
from evalsuite.orgs.models import Invitation, Membership, Org, User
from evalsuite.orgs.services import lock_org, require_may_handle
from evalsuite.throttle import LinkAttempt

LONGEST_DAYS, USUAL_DAYS = 30, 7
# The same for a link that never was and one that is over: it tells nothing of any org.
NOT_VALID = (
    "This invitation is not valid, or not any more: it may have been used, revoked, or have expired."
    " Ask whoever sent you the link for a new one."
)


@transaction.atomic
def invite(
    *, org: Org, actor: User, role: str, note: str = "", days: int = USUAL_DAYS
) -> tuple[Invitation, str]:
    """The row and what goes into the link, which is nowhere after this.

    Raises PermissionDenied for an owner invited by somebody who is none.
    """
    require_may_handle(org, actor, role)
    token = secrets.token_urlsafe(32)
    invitation = Invitation(
        org=org,
        creator=actor,
        role=role,
        note=note,
        digest=_digest(token),
        expires_at=timezone.now() + timedelta(days=days),
    )
    facts = changes.told(invitation, ["role", "note", "expires_at"])
    changes.create(invitation, "org.member.invited", org=org, actor=actor, facts=facts)
    return invitation, token


@transaction.atomic
def revoke(invitation: Invitation, *, actor: User) -> None:
    """From now on its link opens nothing. Once more is no change. Raises Conflict for one that was used."""
    lock_org(invitation.org)
    invitation.refresh_from_db(fields=["used_at", "revoked_at"])
    if invitation.used_at:
        raise Conflict("This invitation was used. Remove the member instead.")
    if invitation.revoked_at:
        return
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    facts = changes.told(invitation, ["role", "note"])
    record("org.invitation.revoked", org=invitation.org, actor=actor, subject=invitation, before=facts)


def look_up(token: str) -> Invitation:
    """The open invitation of this link.

    Raises NotFound alike for every other one, and RateLimited at an address that tries many of those.
    """
    attempt = LinkAttempt(context.current.get().address)
    invitation = _open(token)
    attempt.succeeded()
    return invitation


@transaction.atomic
def accept(token: str, *, user: User) -> Membership:
    """The person becomes a member with the invitation's role, which uses it up.

    Raises as `look_up`, and Conflict for somebody who is a member already: the link stays good then.
    """
    org = look_up(token).org
    lock_org(org)
    invitation = _open(token)  # nobody else uses it, and its maker keeps or loses the right, before we end
    if org.memberships.filter(user=user).exists():
        raise Conflict(f"You are a member of {org.name} already.")
    member = Membership.objects.create(org=org, user=user, role=invitation.role)
    invitation.used_at, invitation.used_by = timezone.now(), user
    invitation.save(update_fields=["used_at", "used_by"])
    facts = {"username": user.get_username(), "role": member.role, "invitationId": str(invitation.pk)}
    record("org.member.joined", org=org, actor=user, subject=member, after=facts)
    return member


@transaction.atomic
def sign_up(token: str, *, user: User) -> Membership:
    """A new account (not saved yet, its password set) that joins.

    Raises as `accept`, and Conflict for a name that is taken.
    """
    look_up(token)  # before the account, so that nobody learns which names are taken
    changes.save(user, force_insert=True)
    record("account.created", org=None, actor=user, subject=user, after={"username": user.get_username()})
    return accept(token, user=user)


def _open(token: str) -> Invitation:
    invitation = Invitation.objects.with_makers().filter(digest=_digest(token)).first()
    if invitation is None or invitation.state != Invitation.State.OPEN:
        raise NotFound("invitation", NOT_VALID)
    return invitation


def _digest(token: str) -> str:
    """Fast on purpose: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
