"""The shape of what the console's dialogs send. Meaning is checked by the services."""

from __future__ import annotations

from typing import Any

from django import forms

from evalsuite.errors import InvalidBody


class PlainTextField(forms.CharField):
    """A long text as it was typed. Browsers send line ends of two characters; rows have one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, **options)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if isinstance(text, str) else text


def checked(form: forms.Form) -> dict[str, Any]:
    """The form's values. Raises InvalidBody naming each field."""
    if not form.is_valid():
        raise InvalidBody({name: list(map(str, why)) for name, why in form.errors.items()})
    return form.cleaned_data
