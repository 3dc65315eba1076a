"""Fields of bodies that more than one object has."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from evalsuite.api import FreeJSONField, StrictCharField, StrictFloatField

LONGEST_NOTE = 10_000  # characters, of descriptions and notes
LONGEST_TEXT = 1_000_000  # characters, of prompts, contents and expected answers
LONGEST_ID = 64


class OptionalText(StrictCharField):
    """A text that may be left out. Null means the empty text."""

    def __init__(self, **kwargs: Any) -> None:
        options = {"required": False, "allow_null": True, "allow_blank": True, "trim_whitespace": False}
        super().__init__(**{**options, **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> str:
        return super().run_validation(data) or ""


class NumberField(StrictFloatField):
    """A number that the database's floats can hold."""

    def to_internal_value(self, data: Any) -> float:
        try:
            return super().to_internal_value(data)
        except OverflowError:
            self.fail("invalid")


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ObjectField(FreeJSONField):
    """Free JSON, documented as the object that it must be."""


@extend_schema_field(str)
class IdOf(serializers.Field):
    """The id of a row of the caller's org (`org` in the context); becomes the row.

    Raises NotFound for any other id, as a URL would.
    """

    default_error_messages = {"invalid": "This must be an id."}

    def __init__(self, model: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")
        return self.model.objects.for_org(self.context["org"]).find(data)


class TextOrNull(serializers.CharField):
    """Of an answer: null where the row has no text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        return super().to_representation(value) if value else None


class Moment(serializers.DateTimeField):
    """Of an answer: ISO 8601. The database's times are UTC already, so nothing is converted."""

    def to_representation(self, value: Any) -> Any:
        return value.isoformat().replace("+00:00", "Z")


# Columns of these kinds hold what JSON has.
AS_THEY_ARE = {
    serializers.BooleanField,
    serializers.CharField,
    serializers.FloatField,
    serializers.IntegerField,
}


class RowSerializer(serializers.Serializer[Any]):
    """For answers of thousands of rows: what DRF works out for each row is worked out once.

    Every field must be there; one that is None is null. A dict is a row as it goes out (`evalsuite.wire`).
    """

    @cached_property
    def _columns(self) -> list[tuple[str, Callable[[Any], Any], Callable[[Any], Any] | None]]:
        """Name, where it comes from, and what JSON it becomes (None: what it is)."""
        return [
            (
                name,
                attrgetter(str(field.source)) if field.source != "*" else _itself,
                None if type(field) in AS_THEY_ARE else field.to_representation,
            )
            for name, field in self.fields.items()
        ]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        if isinstance(instance, dict):
            return instance
        return {
            name: value if (value := get(instance)) is None or show is None else show(value)
            for name, get, show in self._columns
        }


def _itself(row: Any) -> Any:
    return row


class PersonSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    username = serializers.CharField()
