"""Form fields of the admin: texts and JSON stay as they were entered, unstorable ones are refused."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.db import models
from django.forms.fields import InvalidJSONInput
from unfold.widgets import UnfoldAdminTextareaWidget

from evalsuite.api import FreeJSONField
from evalsuite.errors import InvalidBody
from evalsuite.fields import LONGEST_TEXT
from evalsuite.parsers import require_storable


class TextArea(forms.CharField):
    """Blanks at either end belong to a prompt; the line ends that browsers send do not."""

    def __init__(self, **kwargs: Any) -> None:
        longest = kwargs.pop("max_length", None) or LONGEST_TEXT
        super().__init__(strip=False, max_length=longest, **kwargs)

    def to_python(self, value: Any) -> str | None:
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if text else text

    def validate(self, value: Any) -> None:
        super().validate(value.strip() if self.required and isinstance(value, str) else value)


class JSONArea(forms.JSONField):
    """JSON that the API would take as well: no NaN, no NUL, not too deep and not too long."""

    def to_python(self, value: Any) -> Any:
        try:
            value = super().to_python(value)
            require_storable(value)
        except forms.ValidationError:
            raise
        except InvalidBody as error:
            raise forms.ValidationError(str(error)) from error
        except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, a thousand brackets
            raise forms.ValidationError("This JSON is too deep or has too large numbers.") from error
        if value is not None and len(json.dumps(value)) > FreeJSONField.longest:
            raise forms.ValidationError(f"This may be at most {FreeJSONField.longest:,} bytes of JSON.")
        return value

    def bound_data(self, data: Any, initial: Any) -> Any:
        """As it was typed: what was refused may be no JSON, or no text that an answer can hold."""
        return InvalidJSONInput(data) if isinstance(data, str) else initial


def overrides(*, rows: int) -> dict[type[models.Field[Any, Any]], dict[str, Any]]:
    """For an admin's `formfield_overrides`: text areas of so many lines."""
    return {
        models.TextField: {"form_class": TextArea, "widget": UnfoldAdminTextareaWidget({"rows": rows})},
        models.JSONField: {"form_class": JSONArea, "widget": UnfoldAdminTextareaWidget({"rows": rows})},
    }
