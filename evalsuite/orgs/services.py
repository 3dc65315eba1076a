"""Writing orgs and their members, each change with its audit event."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db import transaction

from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.errors import Conflict, NotFound
from evalsuite.orgs.models import Membership, Org, User

OWNER = Membership.Role.OWNER


def update_org(org: Org, *, actor: User, **fields: str) -> None:
    """Rename it. Raises Conflict where another org has the slug."""
    changes.update(org, "org.updated", org=org, actor=actor, changes=fields)


@transaction.atomic
def add_member(*, org: Org, actor: User, username: str, role: str) -> Membership:
    """Give an account that exists a role.

    Raises NotFound for an unknown name, Conflict for a member, PermissionDenied for an owner made by
    somebody who is none.
    """
    lock_org(org)
    require_may_handle(org, actor, role)
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise NotFound("user", f"There is no account with the user name {username}.")
    if org.memberships.filter(user=user).exists():
        raise Conflict(f"{username} is a member already.")
    member = Membership.objects.create(org=org, user=user, role=role)
    record("org.member.added", org=org, actor=actor, subject=member, after=_told(member))
    return member


@transaction.atomic
def add_first_owner(org: Org, user: User) -> Membership:
    """Of an organisation that was made just now, by nobody who could have a role in it."""
    member = Membership.objects.create(org=org, user=user, role=OWNER)
    record("org.member.added", org=org, actor=None, subject=member, after=_told(member))
    return member


@transaction.atomic
def change_role(member: Membership, *, actor: User, role: str) -> None:
    """Raises Conflict where it would leave the org without an owner, PermissionDenied as `add_member`."""
    lock_org(member.org)
    member.refresh_from_db(fields=["role"])
    if member.role == role:
        return
    require_may_handle(member.org, actor, member.role, role)
    before = _told(member)
    if member.role == OWNER:
        _require_another_owner(member)
    member.role = role
    member.save(update_fields=["role"])
    record(
        "org.member.changed", org=member.org, actor=actor, subject=member, before=before, after=_told(member)
    )


@transaction.atomic
def remove_member(member: Membership, *, actor: User) -> None:
    """The account itself stays. Raises as `change_role`."""
    lock_org(member.org)
    member.refresh_from_db(fields=["role"])
    require_may_handle(member.org, actor, member.role)
    if member.role == OWNER:
        _require_another_owner(member)
    record("org.member.removed", org=member.org, actor=actor, subject=member, before=_told(member))
    member.delete()


def lock_org(org: Org) -> None:
    """Until the end of the transaction: two owners who remove each other at once must not both succeed."""
    Org.objects.select_for_update().get(pk=org.pk)


def require_may_handle(org: Org, actor: User, *roles: str) -> None:
    """Raises PermissionDenied where one of the roles is the owner's and the actor is none."""
    if OWNER not in roles or actor.is_superuser:
        return
    if not org.memberships.filter(user=actor, role=OWNER).exists():
        raise PermissionDenied("Only an owner makes owners and takes the role from them.")


def _require_another_owner(member: Membership) -> None:
    others = member.org.memberships.filter(role=OWNER, user__is_active=True).exclude(pk=member.pk)
    if not others.exists():
        raise Conflict("The last owner stays: make somebody else an owner first.")


def _told(member: Membership) -> dict[str, str]:
    return {"username": member.user.get_username(), "role": member.role}
