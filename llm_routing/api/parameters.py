"""Fields of bodies that say how to generate: for whoever takes parameters of a call."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from llm_routing.errors import BadProviderRequest
from llm_routing.providers import answers

EFFORTS = ("low", "medium", "high", "max")
MOST_STOPS = 16
LONGEST_STOP = 256  # characters
LARGEST_SEED = 2**63 - 1


@extend_schema_field({"oneOf": [{"const": "json"}, {"type": "object"}]})
class FormatField(serializers.Field[Any, Any, Any, Any]):
    """`"json"`, or a JSON schema that the answer must fit: one that answers can be checked against."""

    default_error_messages = {
        "invalid": 'This must be "json" or a JSON schema.',
        "dialect": "`$schema` must be a text.",
    }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            self._check(data)
        elif data != "json":
            self.fail("invalid")
        return data

    def _check(self, schema: dict[str, Any]) -> None:
        if not isinstance(schema.get("$schema", ""), str):
            self.fail("dialect")
        try:
            answers.require_usable_format(schema)
        except BadProviderRequest as problem:
            raise serializers.ValidationError(problem.message) from None


@extend_schema_field({"oneOf": [{"type": "boolean"}, {"enum": list(EFFORTS)}]})
class ThinkField(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"invalid": f"This must be true, false or one of {', '.join(EFFORTS)}."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, bool) and data not in EFFORTS:
            self.fail("invalid")
        return data
