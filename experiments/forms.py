"""The shape of what the console's dialogs send. Meaning is checked by the services."""

from __future__ import annotations

from typing import Any, cast

from django import forms

from evalsuite import forms as console_forms
from experiments.models import METRIC_KEY, EvalMetricDefinition
from experiments.services.drafting import Wanted

LONGEST_TEXT = 1_000_000  # characters
checked = console_forms.checked  # for the views, beside the forms


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


class RunForm(forms.Form):
    """How to run. What is left empty is as usual: the plain Run button sends nothing."""

    repeats = forms.IntegerField(min_value=1, max_value=20, required=False)
    parallel = forms.IntegerField(min_value=1, max_value=1_024, required=False)
    token_budget = forms.IntegerField(min_value=1, max_value=10**15, required=False)
    fill_gaps = forms.BooleanField(required=False)
    use_cache = forms.BooleanField(required=False)
    at_most_once = forms.BooleanField(required=False)

    def wanted(self) -> Wanted:
        """The wishes that were expressed. Call when the form is checked."""
        given = {name: value for name, value in self.cleaned_data.items() if value}
        return cast("Wanted", given)


class BudgetForm(forms.Form):
    """For going on: a new token budget, or none to leave it as it is."""

    token_budget = forms.IntegerField(min_value=1, max_value=10**15, required=False)


class FeedbackForm(forms.Form):
    """`thumb` is what was pressed; pressing one's own again clears it."""

    thumb = forms.ChoiceField(choices=[("up", "up"), ("down", "down")])


class ReviewForm(forms.Form):
    """What was pressed in the review: a thumb, a value of a metric, or a note."""

    thumb = forms.ChoiceField(choices=[("up", "up"), ("down", "down")], required=False)
    metric = forms.CharField(max_length=64, required=False)
    value = forms.FloatField(required=False)
    note = console_forms.PlainTextField(max_length=10_000, required=False)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("value") is not None and not values.get("metric"):
            self.add_error("metric", "A value is given for a metric.")
        return values


class NoteForm(forms.Form):
    note = forms.CharField(max_length=10_000, required=False)


class ScoreForm(forms.Form):
    metric = forms.CharField(max_length=64)
    value = forms.FloatField()
    note = forms.CharField(max_length=10_000, required=False)


class MetricForm(forms.Form):
    """A metric's name and scale. `labels` has one value a line, as `5 = perfect`."""

    key = forms.CharField(max_length=64, validators=[METRIC_KEY])
    name = forms.CharField(max_length=128, required=False)
    description = forms.CharField(max_length=10_000, required=False)
    scale = forms.CharField(max_length=64, required=False)
    minimum = forms.FloatField(required=False)
    maximum = forms.FloatField(required=False)
    step = forms.FloatField(required=False)
    direction = forms.ChoiceField(choices=EvalMetricDefinition.Direction.choices)
    labels = forms.CharField(max_length=10_000, required=False)

    def clean_labels(self) -> dict[str, str]:
        labels: dict[str, str] = {}
        for number, line in enumerate(self.cleaned_data["labels"].splitlines(), 1):
            if not line.strip():
                continue
            value, equals, words = (part.strip() for part in line.partition("="))
            if not equals:
                raise forms.ValidationError(f"Line {number} is not like: 5 = perfect.")
            if value in labels:
                raise forms.ValidationError(f"Line {number}: {value} has a label already.")
            labels[value] = words
        return labels

    def wanted(self) -> dict[str, Any]:
        """Names of the model's fields. What was left empty is as for a new metric."""
        values = dict(self.cleaned_data)
        return {**values, "name": values["name"] or values["key"], "scale": values["scale"] or "custom"}
