"""People, the organisations they work in, and the role each has there."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self, cast
from uuid import UUID

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import models, transaction
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone

from evalsuite.errors import Forbidden, NotFound
from evalsuite.ids import new_id, parse_id
from evalsuite.models import Row
from evalsuite.orgs.permissions import ALL, FOR_KEYS, ROLE_PERMISSIONS, Permission, with_implied
from evalsuite.orgs.querysets import OrgScopedQuerySet
from evalsuite.prepared import Prepared


class User(AbstractUser):
    """A person. What they may do is read from their memberships at every request."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # Of a program that speaks for them in this request: then they may no more than the key.
    acting_key: ApiKey | None = None

    @property
    def name_in_records(self) -> str:
        """The user name, and that of the key that was used."""
        name = self.get_username()
        return f"{name} by key {self.acting_key.name}"[:150] if self.acting_key else name

    def save(self, *args: Any, **options: Any) -> None:
        if self.acting_key:
            raise RuntimeError("a request with a key writes no account")
        with transaction.atomic():  # with the audit events that receivers of its signal write
            super().save(*args, **options)


class OrgQuerySet(models.QuerySet["Org"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """The orgs that this user may act in: all for a superuser, else those with a membership."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if user.acting_key:
            return self.filter(pk=user.acting_key.org_id)
        return self if user.is_superuser else self.of_member(user.pk)

    def of_member(self, user_id: UUID) -> Self:
        return self.filter(memberships__user=user_id)

    def for_user(self, user: User | AnonymousUser, org_id: str | UUID) -> Org:
        """One org by the id in a URL. Raises NotFound alike for a foreign and a made-up id."""
        known = parse_id(str(org_id))
        if known is None or not user.is_authenticated or not user.is_active:
            raise NotFound("org")
        if user.acting_key and user.acting_key.org_id != known:
            raise NotFound("org")
        sees_all = user.is_superuser or user.acting_key
        org = ORG.first(known) if sees_all else ORG_OF_MEMBER.first(known, user.pk)
        if org is None:
            raise NotFound("org")
        return org

    def entered_by(self, user: User | AnonymousUser, org_id: str | UUID) -> tuple[Org, frozenset[Permission]]:
        """One org by the id in a URL, and what the user may do in it; for a member in one query.

        Raises NotFound alike for a foreign and a made-up id.
        """
        org = self.for_user(user, org_id)
        role = getattr(org, "role_of_member", None)
        return org, ROLE_PERMISSIONS[role] if role else org.permissions_of(user)


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
        """What this user may do here, as the database says now (one query; three for a key)."""
        if not user.is_authenticated or not user.is_active:
            return frozenset()
        if user.acting_key:
            return self._permissions_of_key(user.acting_key)
        if user.is_superuser:
            return ALL
        membership = MEMBERSHIP.first(self.pk, user.pk)
        return ROLE_PERMISSIONS[membership.role] if membership else frozenset()

    def _permissions_of_key(self, key: ApiKey) -> frozenset[Permission]:
        """What the key was given, as far as whoever made it may still do it."""
        now = API_KEY.first(key.pk)
        creator = USER.first(now.creator_id) if now and now.org_id == self.pk and now.is_live else None
        if now is None or creator is None:
            return frozenset()
        return now.granted & self.permissions_of(creator)

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


class ApiKey(Row):
    """What a program shows instead of a password. Of the key itself a digest is kept, and how it begins."""

    wire_name = "api key"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="api_keys")
    creator = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=128)
    hint = models.CharField(max_length=16, help_text="How the key begins, to tell it from others.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the whole key.")
    permissions = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True, help_text="To the minute.")

    objects = OrgScopedQuerySet["ApiKey"].as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None and not self.is_expired()

    def is_expired(self, now: datetime | None = None) -> bool:
        return self.expires_at <= (now or timezone.now())

    @property
    def granted(self) -> frozenset[Permission]:
        """With what is implied."""
        return with_implied(frozenset(cast("list[Permission]", self.permissions)) & FOR_KEYS)


class InvitationQuerySet(OrgScopedQuerySet["Invitation"]):
    def with_makers(self) -> Self:
        """With whoever made each, and the role that they have now: `state` asks for both."""
        role = Membership.objects.filter(org=OuterRef("org"), user=OuterRef("creator")).values("role")
        return self.select_related("org", "creator", "used_by").annotate(creator_role=Subquery(role))


class Invitation(Row):
    """A link by which one person becomes a member. Of what is in the link a digest is kept."""

    wire_name = "invitation"

    class State(models.TextChoices):
        OPEN = "open"
        USED = "used"
        REVOKED = "revoked"
        EXPIRED = "expired"
        VOID = "void"  # whoever made it could not make it now

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="invitations")
    creator = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    role = models.CharField(max_length=16, choices=Membership.Role.choices)
    note = models.CharField(
        max_length=254, blank=True, default="", help_text="For whom it is, such as an e-mail address."
    )
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of what is in the link.")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    creator_role: str | None  # by `with_makers`

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.role} of {self.org}"

    @property
    def state(self) -> State:
        """What has become of it. Needs `with_makers`."""
        if self.used_at:
            return self.State.USED
        if self.revoked_at:
            return self.State.REVOKED
        if self.expires_at <= timezone.now():
            return self.State.EXPIRED
        return self.State.OPEN if self._could_be_made_now() else self.State.VOID

    def _could_be_made_now(self) -> bool:
        """A link must not outlast the right to give it: whoever was removed could come back by it."""
        maker = self.creator
        if maker is None or not maker.is_active:
            return False
        owner = Membership.Role.OWNER
        role = owner if maker.is_superuser else self.creator_role or ""
        manages = "org:members:manage" in ROLE_PERMISSIONS.get(role, frozenset())
        return manages and (self.role != owner or role == owner)


# Asked at every request, since nobody's rights are remembered.
ORG = Prepared(lambda org: Org.objects.filter(pk=org), UUID)
ORG_OF_MEMBER = Prepared(
    lambda org, user: (
        Org.objects.of_member(user).filter(pk=org).annotate(role_of_member=F("memberships__role"))
    ),
    *(UUID, UUID),
)
USER = Prepared(lambda user: User.objects.filter(pk=user), UUID)
API_KEY = Prepared(lambda key: ApiKey.objects.filter(pk=key), UUID)
MEMBERSHIP = Prepared(lambda org, user: Membership.objects.filter(org=org, user=user), UUID, UUID)
