"""The known keys of a variant's `config`. Everything else in it is the client's own and kept as it is."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.validators import validator_for
from rest_framework import serializers

from evalsuite.api import FreeJSONField, StrictCharField, StrictIntegerField
from evalsuite.fields import LONGEST_TEXT, NumberField

EFFORTS = ("low", "medium", "high", "max")
MOST_STOPS = 16
MOST_TOOLS = 128
LARGEST_SEED = 2**63 - 1


@extend_schema_field({"oneOf": [{"const": "json"}, {"type": "object"}]})
class FormatField(serializers.Field[Any, Any, Any, Any]):
    """`"json"`, or a JSON schema that the answer must fit."""

    default_error_messages = {
        "invalid": 'This must be "json" or a JSON schema.',
        "schema": "This is no valid JSON schema: {reason}.",
    }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            self._check(data)
        elif data != "json":
            self.fail("invalid")
        return data

    def _check(self, schema: dict[str, Any]) -> None:
        dialect = isinstance(schema.get("$schema"), str) and schema
        validator = validator_for(dialect or {}, default=Draft202012Validator)
        try:
            validator.check_schema(schema)
        except SchemaError as error:
            self.fail("schema", reason=error.message[:500])


@extend_schema_field({"oneOf": [{"type": "boolean"}, {"enum": list(EFFORTS)}]})
class ThinkField(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"invalid": f"This must be true, false or one of {', '.join(EFFORTS)}."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, bool) and data not in EFFORTS:
            self.fail("invalid")
        return data


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ToolField(FreeJSONField):
    """One tool, as the provider wants it described."""


def _key(field: type[Any], **options: Any) -> Any:
    """A key that may be left out; null leaves it open as well."""
    return field(required=False, allow_null=True, **options)


class ConfigKeys(serializers.Serializer[Any]):
    """Further keys are allowed, kept and ignored."""

    promptTemplate = _key(StrictCharField, max_length=LONGEST_TEXT, allow_blank=True)
    modelProvider = _key(StrictCharField, max_length=64)
    modelName = _key(StrictCharField, max_length=256)
    temperature = _key(NumberField, min_value=0, max_value=2)
    topP = _key(NumberField, min_value=0, max_value=1)
    maxTokens = _key(StrictIntegerField, min_value=1, max_value=32_768)
    seed = _key(StrictIntegerField, min_value=-LARGEST_SEED, max_value=LARGEST_SEED)
    stop = _key(
        serializers.ListField,
        child=StrictCharField(max_length=256, trim_whitespace=False),
        max_length=MOST_STOPS,
    )
    format = _key(FormatField)
    numCtx = _key(StrictIntegerField, min_value=256, max_value=1_048_576)
    think = _key(ThinkField)
    tools = _key(serializers.ListField, child=ToolField(), max_length=MOST_TOOLS)


@extend_schema_field(ConfigKeys)
class ConfigField(FreeJSONField):
    """The config exactly as it came, once its known keys are found good."""

    longest = 2 * LONGEST_TEXT

    def to_internal_value(self, data: Any) -> Any:
        config = super().to_internal_value(data)
        ConfigKeys(data=config).is_valid(raise_exception=True)
        return config
