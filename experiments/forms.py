"""The shape of what the console's dialogs send. Meaning is checked by the services."""

from __future__ import annotations

from typing import Any

from django import forms

from evalsuite.errors import InvalidBody

LONGEST_TEXT = 1_000_000  # characters


class ExperimentForm(forms.Form):
    name = forms.CharField(max_length=256)
    description = forms.CharField(max_length=10_000, required=False)


class VariantForm(forms.Form):
    name = forms.CharField(max_length=128)
    system_prompt = forms.CharField(max_length=LONGEST_TEXT, required=False, strip=False)
    chat_profile = forms.CharField(max_length=64, required=False)
    model = forms.CharField(max_length=64, required=False)
    prompt_template = forms.CharField(max_length=LONGEST_TEXT, required=False, strip=False)
    temperature = forms.FloatField(min_value=0, max_value=2, required=False)
    top_p = forms.FloatField(min_value=0, max_value=1, required=False)
    max_tokens = forms.IntegerField(min_value=1, max_value=32768, required=False)

    def config(self) -> dict[str, Any]:
        """The known keys of a variant's config that were filled in, but for the model."""
        values = {
            "promptTemplate": self.cleaned_data["prompt_template"],
            "temperature": self.cleaned_data["temperature"],
            "topP": self.cleaned_data["top_p"],
            "maxTokens": self.cleaned_data["max_tokens"],
        }
        return {name: value for name, value in values.items() if value not in ("", None)}


class InputLinesForm(forms.Form):
    """One input a line."""

    lines = forms.CharField(max_length=4 * LONGEST_TEXT, strip=False)

    def contents(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["lines"].splitlines() if line.strip()]


class FeedbackForm(forms.Form):
    """`thumb` is what was pressed; pressing the one that is set clears it."""

    thumb = forms.ChoiceField(choices=[("up", "up"), ("down", "down")])


def checked(form: forms.Form) -> dict[str, Any]:
    """The form's values. Raises InvalidBody naming each field."""
    if not form.is_valid():
        raise InvalidBody({name: list(map(str, why)) for name, why in form.errors.items()})
    return form.cleaned_data
