"""The shape of what the console's pages of profiles and models send."""

from __future__ import annotations

from typing import Any

from django import forms

from evalsuite.errors import NotFound
from evalsuite.fields import LONGEST_TEXT
from evalsuite.forms import PlainTextField
from evalsuite.ids import parse_id
from evalsuite.orgs.models import Org
from llm_routing.models import RegisteredModel

LARGEST_CONTEXT = 10_000_000  # tokens


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
