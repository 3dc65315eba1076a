"""Words for the API's document: envelopes, pages, and the errors that a route may answer with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from evalsuite.pagination import NewestFirst

# Beside what is white space in patterns of JSON schemas, what Python strips: separators, and the next line.
NOT_BLANK = r"[^\s\u001c-\u001f\u0085]"
MEANINGS = {
    400: "`INVALID_BODY`: details name each field.",
    401: "`UNAUTHENTICATED`: no valid token or session.",
    403: "`FORBIDDEN`: details name the permission that is missing.",
    404: "`..._NOT_FOUND`: no such object, or none of this organisation's.",
    406: "`NOT_ACCEPTABLE`: the answer is JSON and nothing else.",
    409: "`CONFLICT`: the state of the object, or of another, forbids it.",
    413: "`TOO_LARGE`: the body is larger than the server takes.",
    415: "`UNSUPPORTED_MEDIA_TYPE`: the body must be JSON.",
    422: "`IDEMPOTENCY_KEY_REUSED`: the key was sent with another request before.",
    429: "`RATE_LIMITED` or `QUOTA_EXCEEDED`: `Retry-After` tells when to come back.",
    502: "`PROVIDER_ERROR`: the provider answered with something that is no answer.",
    503: "`PROVIDER_UNAVAILABLE`: the provider cannot be reached or is overloaded.",
    504: "`PROVIDER_TIMEOUT`: the provider took too long.",
}


class StrictBodies(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A body that refuses unknown fields says so in the document, and what else its fields refuse."""

    target_class = "evalsuite.api.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        properties = {
            name: {**described, **_refused(self.target.fields[name], described)}
            for name, described in schema.get("properties", {}).items()
        }
        return {**schema, "properties": properties, "additionalProperties": False}


def _refused(field: Any, described: dict[str, Any]) -> dict[str, Any]:
    """What the generator does not see: lists that may not be empty, and texts that may not be blank."""
    if getattr(field, "allow_empty", True) is False:
        return {"minItems": 1}
    is_text = isinstance(field, serializers.CharField) and "pattern" not in described
    if not is_text or field.allow_blank:
        return {}
    return {"pattern": NOT_BLANK} if getattr(field, "refuses_blank", field.trim_whitespace) else {}


def bodies_that_may_be_left_out(result: Any, **_: Any) -> Any:
    """Where no field is required, a request without a body is one with an empty object."""
    schemas = result["components"]["schemas"]
    for methods in result["paths"].values():
        for operation in methods.values():
            body = operation.get("requestBody", {})
            for media in body.get("content", {}).values():
                name = media["schema"].get("$ref", "").rpartition("/")[2]
                if name and not schemas[name].get("required"):
                    body["required"] = False
    return result


class ErrorSerializer(serializers.Serializer[Any]):
    """The one shape of every error."""

    error = serializers.CharField(help_text="A code that programs may rely on.")
    details = serializers.DictField(help_text="By field for `INVALID_BODY`, else a `message` and facts.")


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """The declared error answers of a route, for `extend_schema(responses={200: ..., **errors(...)})`."""
    return {status: OpenApiResponse(ErrorSerializer, MEANINGS[status]) for status in statuses}


def envelope(key: str, answer: type[serializers.BaseSerializer[Any]]) -> Any:
    """`{KEY: object}`: one component for each, however many routes answer with it."""
    hashable: Any = answer  # its type does not say so
    return _envelope(key, hashable)


@cache
def _envelope(key: str, answer: Any) -> Any:
    return inline_serializer(f"{_noun(answer)}Answer", {key: answer()})


def page_of(key: str, answer: type[serializers.BaseSerializer[Any]]) -> Any:
    """`{KEY: [objects], "next": address or null}`."""
    return inline_serializer(f"{_noun(answer)}Page", {key: answer(many=True), "next": following()})


def following() -> serializers.URLField:
    return serializers.URLField(allow_null=True, help_text="The address of the next page.")


def _noun(answer: type[serializers.BaseSerializer[Any]]) -> str:
    return answer.__name__.removesuffix("Serializer")


def event_stream(description: str, *names: str) -> dict[tuple[int, str], OpenApiResponse]:
    """A stream of server-sent events, for `extend_schema(responses=...)`; the schema is that of one event."""
    schema = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": list(names)},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "id": {"type": "string"},
        },
        "required": ["event", "data"],
    }
    return {(200, "text/event-stream"): OpenApiResponse(schema, description)}


OK = inline_serializer("Ok", {"ok": serializers.BooleanField()})

NOTHING = {"type": "string", "maxLength": 0}  # a parameter that is empty counts as left out
DAY = {"anyOf": [{"type": "string", "format": "date"}, NOTHING]}
MOMENT = {"anyOf": [{"type": "string", "format": "date-time"}, *DAY["anyOf"]]}
ID = {"anyOf": [{"type": "string", "format": "uuid"}, NOTHING]}

PAGE_PARAMETERS: Sequence[OpenApiParameter] = (
    OpenApiParameter(
        "limit",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": NewestFirst.max_page_size,
            "default": NewestFirst.page_size,
        },
        description="Rows of a page.",
    ),
    OpenApiParameter("cursor", str, description="Where a page begins; taken from `next`."),
)
