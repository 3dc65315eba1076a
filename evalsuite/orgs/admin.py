"""People and organisations."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from evalsuite.admin import OrgScopedAdmin, OrgScopedInline, ScopedRelatedFilter
from evalsuite.audit.services import record
from evalsuite.orgs.models import Membership, Org, User


class OperatorOnly:
    """For superusers alone: people and groups belong to no org."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)


class MembershipInline(OrgScopedInline):
    model = Membership
    view_permission = write_permission = "org:members:manage"
    autocomplete_fields = ["user"]


class UserMembershipInline(OperatorOnly, OrgScopedInline):
    model = Membership
    autocomplete_fields = ["org"]

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_module_permission(request)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(OperatorOnly, DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    show_full_result_count = False


@admin.register(User)
class UserAdmin(OperatorOnly, DjangoUserAdmin, ModelAdmin):  # type: ignore[misc]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["username", "email", "first_name", "last_name"]
    show_full_result_count = False
    inlines = [UserMembershipInline]

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return self.inlines if obj else []

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj, "created")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj, "changed", message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for row in queryset:
            self._tell(request, row, "deleted")
        return super().log_deletions(request, queryset)

    def _tell(self, request: HttpRequest, row: User, what: str, message: Any = None) -> None:
        """Changes of a password come here as well; the message tells names of fields only."""
        after = {"change": message} if message else None
        actor = request.user if isinstance(request.user, User) else None
        record(f"admin.user.{what}", org=None, actor=actor, subject=row, after=after)


@admin.register(Org)
class OrgAdmin(OrgScopedAdmin):
    org_path = "pk"
    write_permission = "org:members:manage"
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    inlines = [MembershipInline]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj else {"slug": ["name"]}

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_superuser)


@admin.register(Membership)
class MembershipAdmin(OrgScopedAdmin):
    view_permission = write_permission = "org:members:manage"
    list_display = ["user", "org", "role", "created_at"]
    list_filter = ["role", ("org", ScopedRelatedFilter)]
    search_fields = ["user__username", "user__email", "org__name"]
    autocomplete_fields = ["org", "user"]
    list_select_related = ["org", "user"]
