"""The known keys of a variant's `config`. Everything else in it is the client's own and kept as it is."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from evalsuite.api import FreeJSONField, StrictCharField, StrictIntegerField
from evalsuite.fields import LONGEST_TEXT, NumberField
from llm_routing.api.parameters import LARGEST_SEED, LONGEST_STOP, MOST_STOPS, FormatField, ThinkField

MOST_TOOLS = 128


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
        child=StrictCharField(max_length=LONGEST_STOP, trim_whitespace=False),
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
