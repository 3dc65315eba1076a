"""Forms of the registry in the admin: what they refuse, and the key that they never show."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from evalsuite.admin import OrgForm
from evalsuite.errors import EvalsuiteError
from llm_routing import registry
from llm_routing.addresses import AddressNotAllowed, require_allowed
from llm_routing.models import Provider, RegisteredModel


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
    """For a shared provider any server, such as http://ollama:11434; for an org's what the API allows."""

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
        provider = self.cleaned_data.get("provider") or getattr(self.instance, "provider", None)
        if "base_url" in self.changed_data and provider is not None and provider.org_id:
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


class ModelDefaultForm(OrgForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        org, model = cleaned.get("org"), cleaned.get("model")
        if org and model and not RegisteredModel.objects.usable_by(org).filter(pk=model.pk).exists():
            self.add_error("model", "This organisation may not call this model now.")
        return cleaned


class ChatProfileForm(OrgForm):
    """A profile is made for a model that is there; one that is gone since then does not block other edits."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        org, slug, name = (cleaned.get(field) for field in ("org", "model_provider", "model_name"))
        if org and slug and name and {"org", "model_provider", "model_name"} & set(self.changed_data):
            try:
                cleaned["model_name"] = registry.resolve(org, slug, name).name
            except EvalsuiteError as error:
                self.add_error("model_name", str(error))
        return cleaned
