"""The registry of servers and models, and the profiles that use them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any, Final
from uuid import UUID

from django.contrib import admin, messages
from django.db import models, transaction
from django.http import HttpRequest

from evalsuite.admin import OrgScopedAdmin, OrgScopedInline, ReadOnlyAdmin, ScopedRelatedFilter, in_console
from llm_routing import provider_services, services
from llm_routing.admin_forms import ChatProfileForm, EndpointForm, ModelDefaultForm, ProviderForm
from llm_routing.models import (
    ChatProfile,
    ChatProfileVersion,
    Endpoint,
    ModelDefault,
    Provider,
    RegisteredModel,
)

REGISTRY: Final = "org:models:write"


def clear_key(admin_page: OrgScopedAdmin, request: HttpRequest, provider: Provider) -> None:
    """A key is for the servers that it was entered for, and is never sent to another address."""
    if not provider.api_key:
        return
    had = copy(provider)
    provider.api_key = ""
    provider.save(update_fields=["api_key"])
    admin_page.tell(request, provider, "changed", ["api_key"], before=had)
    admin_page.message_user(
        request, f"The key of {provider} was cleared, since an address changed.", messages.WARNING
    )


class EndpointInline(OrgScopedInline):
    model = Endpoint
    form = EndpointForm
    view_permission = write_permission = REGISTRY


@admin.register(Provider)
class ProviderAdmin(OrgScopedAdmin):
    form = ProviderForm
    view_permission = write_permission = REGISTRY
    list_display = ["name", "slug", "kind", "org", "enabled", "is_toy", "has_key"]
    list_filter = ["kind", "enabled", ("org", ScopedRelatedFilter)]
    search_fields = ["name", "slug", "org__name"]
    autocomplete_fields = ["org"]
    list_select_related = ["org"]
    inlines = [EndpointInline]
    actions = ["synchronise"]
    fieldsets = [
        (None, {"fields": ["org", "name", "slug", "kind", "enabled", "is_toy"]}),
        ("Key", {"fields": ["api_key", "clear_key"]}),
        (
            "Time limits in seconds",
            {"fields": ["connect_timeout", "first_token_timeout", "idle_timeout", "total_timeout"]},
        ),
    ]

    def view_on_site(self, obj: Provider) -> str | None:
        return in_console("providers", obj.org)

    @admin.display(boolean=True, description="Key")
    def has_key(self, row: Provider) -> bool:
        return bool(row.api_key)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_related(request, form, formsets, change)
            moved = any(
                [
                    *formset.new_objects,
                    *(row for row, names in formset.changed_objects if "base_url" in names),
                ]
                for formset in formsets
                if formset.model is Endpoint
            )
            if change and (moved or "kind" in form.changed_data) and not form.new_key:
                clear_key(self, request, form.instance)

    @admin.action(description="Synchronise models", permissions=["write"])
    def synchronise(self, request: HttpRequest, queryset: models.QuerySet[Provider]) -> None:
        user = self.actor(request)

        def work(provider: Provider) -> str:
            if provider.org and not user.is_superuser:
                result = provider_services.sync(provider, org=provider.org, actor=user)
            else:
                result = provider_services.sync_and_tell(provider, actor=user)
            counts = (len(result.added), len(result.updated), len(result.gone))
            return "{} models added, {} updated, {} gone.".format(*counts)

        self.act(request, queryset, work)


@admin.register(Endpoint)
class EndpointAdmin(OrgScopedAdmin):
    form = EndpointForm
    org_path = "provider__org"
    view_permission = write_permission = REGISTRY
    list_display = ["base_url", "provider", "slots", "weight", "enabled"]
    list_filter = ["enabled", ("provider", ScopedRelatedFilter)]
    search_fields = ["base_url", "provider__name"]
    autocomplete_fields = ["provider"]
    list_select_related = ["provider__org"]

    def view_on_site(self, obj: Endpoint) -> str | None:
        return in_console("providers", obj.provider.org)

    def save_model(self, request: HttpRequest, obj: Endpoint, form: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if {"base_url", "provider"} & set(form.changed_data):
                clear_key(self, request, obj.provider)


@admin.register(RegisteredModel)
class RegisteredModelAdmin(OrgScopedAdmin):
    """Models of shared providers may be seen, and chosen, by the staff of orgs that may use them."""

    org_path = "provider__org"
    shared = True
    write_permission = REGISTRY
    list_display = [
        "name",
        "provider",
        "context_tokens",
        "num_ctx",
        "available",
        "open_to_all",
        "last_seen_at",
    ]
    list_filter = ["available", "open_to_all", ("provider", ScopedRelatedFilter)]
    search_fields = ["name", "provider__name"]
    autocomplete_fields = ["provider", "allowed_orgs"]
    readonly_fields = ["size_bytes", "digest", "last_seen_at"]
    list_select_related = ["provider__org"]
    fieldsets = [
        (None, {"fields": ["provider", "name", "available", "num_ctx"]}),
        ("Who may use it", {"fields": ["open_to_all", "allowed_orgs"]}),
        (
            "As the provider tells",
            {"fields": ["context_tokens", "size_bytes", "digest", "last_seen_at", "capabilities", "details"]},
        ),
    ]

    def view_on_site(self, obj: RegisteredModel) -> str | None:
        return in_console("models", obj.provider.org)

    def rows_of(self, rows: models.QuerySet[Any], orgs: Iterable[UUID]) -> models.QuerySet[Any]:
        allowed = RegisteredModel.objects.filter(allowed_orgs__in=list(orgs)).values("pk")
        open_ones = models.Q(open_to_all=True) | models.Q(pk__in=allowed)
        own = models.Q(provider__org__in=list(orgs))
        return super().rows_of(rows, orgs).filter(own | open_ones)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Which other orgs there are is the operator's to know."""
        first, _who, last = self.fieldsets
        return self.fieldsets if request.user.is_superuser else [first, last]


@admin.register(ModelDefault)
class ModelDefaultAdmin(OrgScopedAdmin):
    form = ModelDefaultForm
    write_permission = REGISTRY
    list_display = ["org", "model"]
    search_fields = ["org__name", "model__name"]
    list_filter = [("org", ScopedRelatedFilter)]
    autocomplete_fields = ["org", "model"]
    list_select_related = ["org", "model"]
    ordering = ["org__name"]

    def view_on_site(self, obj: ModelDefault) -> str | None:
        return in_console("models", obj.org)


@admin.register(ChatProfile)
class ChatProfileAdmin(OrgScopedAdmin):
    form = ChatProfileForm
    write_permission = "org:profiles:write"
    list_display = ["name", "org", "model_provider", "model_name", "temperature", "version", "updated_at"]
    list_filter = ["model_provider", ("org", ScopedRelatedFilter)]
    search_fields = ["name", "model_name", "org__name"]
    autocomplete_fields = ["org"]
    readonly_fields = ["version", "created_at", "updated_at"]
    list_select_related = ["org"]
    fieldsets = [
        (None, {"fields": ["org", "name", "system_prompt"]}),
        (
            "Model",
            {"fields": ["model_provider", "model_name", "temperature", "top_p", "max_tokens"]},
        ),
        ("Record", {"fields": ["version", "created_at", "updated_at"]}),
    ]

    def view_on_site(self, obj: ChatProfile) -> str | None:
        return in_console("profile", obj.org, obj.pk)

    def save_model(self, request: HttpRequest, obj: ChatProfile, form: Any, change: bool) -> None:
        changed = bool(form.changed_data)
        with transaction.atomic():
            if change and changed:
                obj.version += 1
            super().save_model(request, obj, form, change)
            if changed or not change:
                services.keep_version(obj, author=self.actor(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[str], Any]:
        """Nobody deletes a version by itself; with their profile they go."""
        told, counts, may_not, kept = super().get_deleted_objects(objs, request)
        return told, counts, may_not - {ChatProfileVersion._meta.verbose_name}, kept

    def delete_model(self, request: HttpRequest, obj: ChatProfile) -> None:
        services.delete_profile(obj, actor=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[ChatProfile]) -> None:
        with transaction.atomic():
            for profile in queryset:
                self.delete_model(request, profile)


@admin.register(ChatProfileVersion)
class ChatProfileVersionAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "profile__org"
    list_display = ["profile", "number", "name", "model_name", "author", "created_at"]
    list_filter = ["created_at", "model_provider", ("profile__org", ScopedRelatedFilter)]
    search_fields = ["name", "model_name", "profile__name"]
    list_select_related = ["profile", "author"]
    ordering = ["-id"]
    fieldsets = [
        (None, {"fields": ["profile", "number", "created_at", "author", "restored_from"]}),
        (
            "As it was",
            {
                "fields": [
                    "name",
                    "system_prompt",
                    "model_provider",
                    "model_name",
                    "temperature",
                    "top_p",
                    "max_tokens",
                ]
            },
        ),
    ]
