"""The shape of what the console's pages of profiles and models send."""

from __future__ import annotations

from typing import Any

from django import forms

from evalsuite.errors import NotFound
from evalsuite.fields import LONGEST_TEXT
from evalsuite.forms import PlainTextField
from evalsuite.ids import parse_id
from evalsuite.orgs.models import Org
from llm_routing.models import HEADER_SAFE, Provider, RegisteredModel
from llm_routing.provider_services import Place

LARGEST_CONTEXT = 10_000_000  # tokens
LONGEST_WAIT = 3_600  # seconds


class ProfileForm(forms.Form):
    """`model` is the id of one that the org may call; empty leaves the profile's as it is."""

    name = forms.CharField(max_length=128)
    system_prompt = PlainTextField(max_length=LONGEST_TEXT, required=False)
    model = forms.CharField(max_length=64, required=False)
    temperature = forms.FloatField(min_value=0, max_value=2)
    top_p = forms.FloatField(min_value=0, max_value=1)
    max_tokens = forms.IntegerField(min_value=1, max_value=32768, required=False)

    def facts(self, org: Org) -> dict[str, Any]:
        """What the profile shall say. Call when the form is checked. Raises NotFound for an odd model."""
        facts = dict(self.cleaned_data)
        if model_id := facts.pop("model"):
            usable = RegisteredModel.objects.usable_by(org).select_related("provider")
            model = usable.filter(pk__in=filter(None, [parse_id(model_id)])).first()
            if model is None:
                raise NotFound("model")
            facts |= {"model_provider": model.provider.slug, "model_name": model.name}
        return facts


class NewProfileForm(ProfileForm):
    model = forms.CharField(max_length=64)


class ContextForm(forms.Form):
    """Empty: as usual."""

    num_ctx = forms.IntegerField(min_value=128, max_value=LARGEST_CONTEXT, required=False)


class DefaultForm(forms.Form):
    model = forms.CharField(max_length=64)


def _key() -> forms.CharField:
    return forms.CharField(max_length=4_096, required=False, strip=False, validators=[HEADER_SAFE])


class EndpointForm(forms.Form):
    """`api_key` is the provider's, for an address that is new; empty leaves it."""

    base_url = forms.CharField(max_length=512)
    slots = forms.IntegerField(min_value=1, max_value=1024)
    weight = forms.IntegerField(min_value=1, max_value=100)
    enabled = forms.BooleanField(required=False)
    api_key = _key()

    @property
    def place(self) -> Place:
        """Call when the form is checked."""
        given = self.cleaned_data
        url = str(given["base_url"]).rstrip("/")
        return Place(
            base_url=url, slots=given["slots"], weight=given["weight"], enabled=given.get("enabled", True)
        )


class NewProviderForm(EndpointForm):
    """With its first endpoint, which is switched on."""

    enabled = None  # type: ignore[assignment]
    name = forms.CharField(max_length=128)
    slug = forms.SlugField(max_length=64)
    kind = forms.ChoiceField(choices=Provider.Kind.choices)


def _seconds() -> forms.FloatField:
    return forms.FloatField(min_value=0.1, max_value=LONGEST_WAIT)


class ProviderForm(forms.Form):
    """An empty key leaves the one there is; `clear_key` takes it away."""

    name = forms.CharField(max_length=128)
    enabled = forms.BooleanField(required=False)
    api_key = _key()
    clear_key = forms.BooleanField(required=False)
    connect_timeout = _seconds()
    first_token_timeout = _seconds()
    idle_timeout = _seconds()
    total_timeout = _seconds()

    def changes(self) -> dict[str, Any]:
        """What the provider shall have. Call when the form is checked."""
        given = dict(self.cleaned_data)
        clear, key = given.pop("clear_key"), given.pop("api_key")
        return {**given, "api_key": ""} if clear else {**given, "api_key": key} if key else given
