"""People and organisations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.http import HttpRequest
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from evalsuite.admin import (
    OrgForm,
    OrgScopedAdmin,
    OrgScopedInline,
    ReadOnlyAdmin,
    ScopedRelatedFilter,
    in_console,
    org_ids,
)
from evalsuite.orgs import services
from evalsuite.orgs.models import Invitation, Membership, Org, User
from evalsuite.orgs.permissions import Permission

OWNER = Membership.Role.OWNER
ONE_STAYS = "An organisation keeps at least one owner: make somebody else an owner first."

admin.site.unregister(Group)  # rights come from memberships: a group would grant nothing
admin.site.unregister([OutstandingToken, BlacklistedToken])  # a page of theirs would show whole tokens


class OperatorOnly:
    """For superusers alone: what belongs to no org."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)


class MembershipForm(OrgForm):
    """The rules of `orgs.services` for owners, here for one row; `MembershipFormSet` minds the others."""

    alone = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        before = Membership.objects.filter(pk=self.instance.pk).first()
        roles = {cleaned.get("role"), before.role if before else None}
        org = cleaned.get("org") or (self.instance.org_id and self.instance.org)
        if self.has_changed() and org and OWNER in roles and not may_handle_owners(self.request, org):
            self.add_error("role", "Only an owner makes owners and takes the role from them.")
        left = before and (cleaned.get("role") != OWNER or cleaned.get("user") != before.user)
        if self.alone and before and before.role == OWNER and left and is_last_owner(before):
            self.add_error("role", ONE_STAYS)
        return cleaned


class MembershipFormSet(forms.BaseInlineFormSet):
    request: HttpRequest

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        of_org = isinstance(self.instance, Org)
        for form in self.deleted_forms:
            member = form.instance
            if member.role == OWNER and not may_handle_owners(self.request, member.org):
                raise forms.ValidationError("Only an owner takes the role of an owner from somebody.")
            if member.role == OWNER and not of_org and is_last_owner(member):
                raise forms.ValidationError(ONE_STAYS)
        if of_org and not self.instance._state.adding:
            self._require_owner()

    def _require_owner(self) -> None:
        kept = [form for form in self.forms if form not in self.deleted_forms]
        owned = any(form.cleaned_data.get("role") == OWNER for form in kept)
        if not owned and self.instance.memberships.filter(role=OWNER).exists():
            raise forms.ValidationError(ONE_STAYS)


def may_handle_owners(request: HttpRequest, org: Org) -> bool:
    own = Membership.objects.filter(org=org, user=request.user.pk, role=OWNER)
    return bool(request.user.is_superuser) or own.exists()


def is_last_owner(member: Membership) -> bool:
    return not member.org.memberships.filter(role=OWNER, user__is_active=True).exclude(pk=member.pk).exists()


class InlineMembershipForm(MembershipForm):
    alone = False


class MembershipInline(OrgScopedInline):
    model = Membership
    form = InlineMembershipForm
    formset = MembershipFormSet
    view_permission = write_permission = "org:members:manage"
    autocomplete_fields = ["user"]
    list_select_related = ("org", "user")


class UserMembershipInline(OperatorOnly, OrgScopedInline):
    model = Membership
    form = MembershipForm
    formset = MembershipFormSet
    autocomplete_fields = ["org"]
    list_select_related = ("org", "user")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, OrgScopedAdmin):  # type: ignore[misc]
    """Superusers manage accounts; who manages an org's members may look at the people in it."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    view_permission = write_permission = "org:members:manage"
    list_display = ["username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["username", "email", "first_name", "last_name"]
    ordering = ["username"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Account", {"fields": ["is_active", "is_staff", "is_superuser", "last_login", "date_joined"]}),
    ]
    inlines = [UserMembershipInline]
    seen_by_staff: ClassVar[Any] = [
        (None, {"fields": ["username", "first_name", "last_name", "email"]}),
        ("Account", {"fields": ["is_active", "last_login", "date_joined"]}),
    ]

    def rows_of(self, rows: models.QuerySet[Any], orgs: Iterable[UUID]) -> models.QuerySet[Any]:
        return rows.filter(pk__in=Membership.objects.filter(org__in=list(orgs)).values("user"))

    def _may(self, request: HttpRequest, permission: Permission, row: models.Model | None) -> bool:
        if row is None or request.user.is_superuser:
            return super()._may(request, permission, None)
        orgs = org_ids(request, permission)
        return super()._may(request, permission, None) and row.memberships.filter(org__in=orgs).exists()  # type: ignore[attr-defined]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if request.user.is_superuser else self.seen_by_staff

    def get_list_display(self, request: HttpRequest) -> Any:
        return super().get_list_display(request) if request.user.is_superuser else self.list_display[:5]

    def get_list_filter(self, request: HttpRequest) -> Any:
        return super().get_list_filter(request) if request.user.is_superuser else ["is_active"]

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return self.inlines if obj else []

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The page of a password saves without `save_model`, and comes here only."""
        if request.resolver_match and request.resolver_match.url_name == "auth_user_password_change":
            self.tell(request, obj, "changed", ["password"])
        return super().log_change(request, obj, message)


@admin.register(Org)
class OrgAdmin(OrgScopedAdmin):
    org_path = "pk"
    write_permission = "org:members:manage"
    list_display = ["name", "slug", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["name", "slug"]
    fields = ["name", "slug"]
    inlines = [MembershipInline]

    def view_on_site(self, obj: Org) -> str | None:
        return in_console("experiments", obj)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj else {"slug": ["name"]}

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_add_permission(request)


@admin.register(Membership)
class MembershipAdmin(OrgScopedAdmin):
    form = MembershipForm
    view_permission = write_permission = "org:members:manage"
    list_display = ["user", "org", "role", "created_at"]
    list_filter = ["role", ("org", ScopedRelatedFilter)]
    search_fields = ["user__username", "user__email", "org__name"]
    autocomplete_fields = ["org", "user"]
    list_select_related = ["org", "user"]
    fields = ["org", "user", "role"]

    def view_on_site(self, obj: Membership) -> str | None:
        return in_console("members", obj.org)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        if isinstance(obj, Membership) and obj.role == OWNER and not may_handle_owners(request, obj.org):
            return False
        return super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        services.remove_member(obj, actor=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Membership]) -> None:
        with transaction.atomic():
            for member in queryset:
                self.delete_model(request, member)


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    """To read: they are made and revoked in the console, where a link is shown once."""

    view_permission = write_permission = "org:members:manage"
    list_display = ["created_at", "org", "role", "note", "creator", "expires_at", "used_at", "revoked_at"]
    list_filter = ["role", "created_at", ("org", ScopedRelatedFilter)]
    search_fields = ["note", "org__name", "creator__username", "used_by__username"]
    list_select_related = ["org", "creator"]
    fieldsets = [
        (None, {"fields": ["org", "role", "note", "creator", "created_at"]}),
        ("What became of it", {"fields": ["expires_at", "used_at", "used_by", "revoked_at"]}),
    ]

    def view_on_site(self, obj: Invitation) -> str | None:
        return in_console("members", obj.org)
