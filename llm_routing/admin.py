"""The registry of servers and models, and the profiles that use them."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import models, transaction
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from evalsuite.admin import OrgForm, OrgScopedAdmin, OrgScopedInline, ReadOnlyAdmin, ScopedRelatedFilter
from evalsuite.orgs.models import User
from llm_routing import provider_services, registry
from llm_routing.addresses import AddressNotAllowed, require_allowed
from llm_routing.models import ChatProfile, Endpoint, ModelDefault, Provider, RegisteredModel, SlotLease

REGISTRY: Final = "org:models:write"


class ProviderForm(OrgForm):
    """The key can be set, replaced and cleared, and never be read."""

    api_key = forms.CharField(
        label="API key",
        required=False,
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "new-password"}),
        help_text="Leave empty to keep the present key. A changed address clears it.",
    )
    clear_key = forms.BooleanField(required=False, label="Clear key", widget=UnfoldBooleanWidget())

    class Meta:
        model = Provider
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["api_key"] = ""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.new_key = cleaned.get("api_key") or ""
        if cleaned.get("clear_key"):
            self.new_key = ""
            cleaned["api_key"] = ""
        elif not self.new_key:
            cleaned["api_key"] = self.instance.api_key
        return cleaned

    def _post_clean(self) -> None:
        super()._post_clean()
        if "api_key" in self.cleaned_data:  # Django keeps the old value where a client left the field out
            self.instance.api_key = self.cleaned_data["api_key"]


class EndpointForm(OrgForm):
    """The operator may name any server, such as http://ollama:11434; an org's staff what the API allows."""

    base_url = forms.CharField(
        label="Base URL", max_length=512, widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "url"})
    )
    _own_check_counts = False

    def clean_base_url(self) -> str:
        url = str(self.cleaned_data["base_url"])
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or any(character.isspace() for character in url):
            raise forms.ValidationError("This must be an address such as http://127.0.0.1:11434.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise forms.ValidationError("An address has no password, question mark or # in it.")
        if "base_url" in self.changed_data and not self.request.user.is_superuser:
            try:
                require_allowed(url, settings.PRIVATE_PROVIDER_NETWORKS)
            except AddressNotAllowed as error:
                raise forms.ValidationError(error.message) from error
        return url

    def _post_clean(self) -> None:
        self._own_check_counts = True
        try:
            super()._post_clean()
        finally:
            self._own_check_counts = False
        if self.errors:
            return
        try:  # two endpoints with one address are still refused
            self.instance.validate_constraints(exclude=self._get_validation_exclusions())
        except forms.ValidationError as error:
            self.add_error(None, error)

    def _get_validation_exclusions(self) -> set[str]:
        """The model's own check of the address knows public names only."""
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded | {"base_url"} if self._own_check_counts else excluded


def clear_key(admin_page: OrgScopedAdmin, request: HttpRequest, provider: Provider) -> None:
    """A key is for the servers that it was entered for, and is never sent to another address."""
    if not provider.api_key:
        return
    provider.api_key = ""
    provider.save(update_fields=["api_key"])
    admin_page.tell(request, provider, "changed", ["api_key"])
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
    deleted_along = ("slot lease",)

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
        user = cast("User", request.user)

        def work(provider: Provider) -> str:
            if provider.org and not user.is_superuser:
                result = provider_services.sync(provider, org=provider.org, actor=user)
            else:
                result = registry.sync_provider(provider)
                self.tell(request, provider, "synchronised")
            counts = (len(result.added), len(result.updated), len(result.gone))
            return "{} models added, {} updated, {} gone.".format(*counts)

        self.act(request, queryset, work)


@admin.register(Endpoint)
class EndpointAdmin(OrgScopedAdmin):
    form = EndpointForm
    org_path = "provider__org"
    view_permission = write_permission = REGISTRY
    list_display = ["base_url", "provider", "slots", "enabled"]
    list_filter = ["enabled", ("provider", ScopedRelatedFilter)]
    search_fields = ["base_url", "provider__name"]
    autocomplete_fields = ["provider"]
    list_select_related = ["provider__org"]
    deleted_along = ("slot lease",)

    def save_model(self, request: HttpRequest, obj: Endpoint, form: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if {"base_url", "provider"} & set(form.changed_data):
                clear_key(self, request, obj.provider)


@admin.register(SlotLease)
class SlotLeaseAdmin(ReadOnlyAdmin, OrgScopedAdmin):
    org_path = "endpoint__provider__org"
    view_permission = write_permission = REGISTRY
    list_display = ["endpoint", "number", "holder", "expires_at"]
    list_filter = [("endpoint", ScopedRelatedFilter)]
    search_fields = ["endpoint__base_url"]
    list_select_related = ["endpoint"]
    ordering = ["endpoint_id", "number"]


@admin.register(RegisteredModel)
class RegisteredModelAdmin(OrgScopedAdmin):
    """Models of shared providers may be seen, and chosen, by all staff."""

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
    readonly_fields = ["digest", "last_seen_at"]
    list_select_related = ["provider__org"]


@admin.register(ModelDefault)
class ModelDefaultAdmin(OrgScopedAdmin):
    write_permission = REGISTRY
    list_display = ["org", "model"]
    search_fields = ["org__name", "model__name"]
    list_filter = [("org", ScopedRelatedFilter)]
    autocomplete_fields = ["org", "model"]
    list_select_related = ["org", "model"]
    ordering = ["org__name"]


@admin.register(ChatProfile)
class ChatProfileAdmin(OrgScopedAdmin):
    write_permission = "org:profiles:write"
    list_display = ["name", "org", "model_provider", "model_name", "temperature", "version", "updated_at"]
    list_filter = ["model_provider", ("org", ScopedRelatedFilter)]
    search_fields = ["name", "model_name", "org__name"]
    autocomplete_fields = ["org"]
    readonly_fields = ["version"]
    list_select_related = ["org"]

    def save_model(self, request: HttpRequest, obj: ChatProfile, form: Any, change: bool) -> None:
        if change and form.changed_data:
            obj.version += 1
        super().save_model(request, obj, form, change)
