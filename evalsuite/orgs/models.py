"""People, the organisations they work in, and the role each has there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import models

from evalsuite.errors import Forbidden, NotFound
from evalsuite.ids import new_id, parse_id
from evalsuite.models import Row
from evalsuite.orgs.permissions import ALL, ROLE_PERMISSIONS, Permission

if TYPE_CHECKING:
    from uuid import UUID


class User(AbstractUser):
    """A person. What they may do is read from their memberships at every request."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)


class OrgQuerySet(models.QuerySet["Org"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """The orgs that this user may act in: all for a superuser, else those with a membership."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        return self if user.is_superuser else self.filter(memberships__user=user)

    def for_user(self, user: User | AnonymousUser, org_id: str | UUID) -> Org:
        """One org by the id in a URL. Raises NotFound alike for a foreign and a made-up id."""
        org = self.visible_to(user).filter(pk=parse_id(str(org_id))).first()
        if org is None:
            raise NotFound("org")
        return org


class Org(Row):
    name = models.CharField(max_length=128)
    slug = models.SlugField(max_length=64, unique=True)

    objects = OrgQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        verbose_name = "organisation"

    def __str__(self) -> str:
        return self.name

    def permissions_of(self, user: User | AnonymousUser) -> frozenset[Permission]:
        """What this user may do here, as the database says now (one query)."""
        if not user.is_authenticated or not user.is_active:
            return frozenset()
        if user.is_superuser:
            return ALL
        role = self.memberships.filter(user=user).values_list("role", flat=True).first()
        return ROLE_PERMISSIONS[role] if role else frozenset()

    def require(self, user: User | AnonymousUser, permission: Permission) -> None:
        """Raises Forbidden, naming the permission, where the user lacks it."""
        if permission not in self.permissions_of(user):
            raise Forbidden(permission)


class Membership(Row):
    wire_name = "member"

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        EDITOR = "editor"
        RATER = "rater"
        VIEWER = "viewer"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["org", "user"], name="one_membership_per_org")]

    def __str__(self) -> str:
        return f"{self.user} in {self.org}: {self.role}"
