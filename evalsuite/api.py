"""The ground of the JSON API: one error shape, strict serializer fields."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import OperationalError
from django.http import Http404
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import set_rollback

from evalsuite.errors import EvalsuiteError, NotFound, TooLarge, Unavailable

log = logging.getLogger(__name__)


def error_response(error: EvalsuiteError) -> Response:
    """The one shape of every error: `{"error": code, "details": ...}`."""
    response = Response({"error": error.code, "details": error.details}, status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return response


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook. Unknown exceptions are bugs: None lets Django log them and answer 500."""
    if isinstance(exc, OperationalError):
        log.error("the database does not answer", exc_info=exc)
        exc = Unavailable()
    if isinstance(exc, EvalsuiteError):
        set_rollback()
        return error_response(exc)
    if isinstance(exc, RequestDataTooBig):
        return error_response(TooLarge("The body is too large."))
    if isinstance(exc, Http404):
        return error_response(NotFound("resource"))
    if isinstance(exc, PermissionDenied):
        return Response(
            {"error": "FORBIDDEN", "details": {"message": str(exc) or "Not allowed."}}, status=403
        )
    if isinstance(exc, exceptions.APIException):
        set_rollback()
        return _drf_error(exc)
    return None


def _drf_error(exc: exceptions.APIException) -> Response:
    headers = {}
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if isinstance(exc, exceptions.ValidationError):
        return Response({"error": "INVALID_BODY", "details": _by_field(exc.detail)}, status=400)
    if isinstance(exc, exceptions.ParseError):
        return Response({"error": "INVALID_BODY", "details": {"body": [str(exc.detail)]}}, status=400)
    codes = {
        401: "UNAUTHENTICATED",
        403: "FORBIDDEN",
        404: "RESOURCE_NOT_FOUND",
        405: "METHOD_NOT_ALLOWED",
        406: "NOT_ACCEPTABLE",
        415: "UNSUPPORTED_MEDIA_TYPE",
        429: "RATE_LIMITED",
    }
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    message = exc.detail.get("detail", exc.detail) if isinstance(exc.detail, dict) else exc.detail
    return Response(
        {"error": codes.get(exc.status_code, "INVALID_BODY"), "details": {"message": str(message)}},
        status=exc.status_code,
        headers=headers,
    )


def _by_field(detail: Any) -> dict[str, Any]:
    if isinstance(detail, dict):
        return {"body" if name == "non_field_errors" else name: why for name, why in detail.items()}
    return {"body": detail}


class StrictCharField(serializers.CharField):
    """Text only: a number or a boolean is a mistake, not a text."""

    default_error_messages = {"invalid": "This must be a text."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class PromptField(StrictCharField):
    """A text that is kept to the letter, and is more than white space."""

    default_error_messages = {"blank": "This may not be blank."}
    refuses_blank = True

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not text.strip():
            self.fail("blank")
        return text


class StrictFloatField(serializers.FloatField):
    default_error_messages = {"invalid": "This must be a number."}

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    default_error_messages = {"invalid": "This must be a whole number."}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)  # JSON has one kind of number: 4.0 is whole
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    default_error_messages = {"invalid": "This must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class FreeJSONField(serializers.JSONField):
    """A JSON object that comes back key for key as it went in; at most `longest` bytes."""

    default_error_messages = {
        "object": "This must be a JSON object.",
        "longest": "This must be at most {longest} bytes of JSON.",
    }
    longest = 256 * 1024

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            self.fail("object")
        if len(json.dumps(data)) > self.longest:
            self.fail("longest", longest=self.longest)
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer[Any]):
    """A request's body. A field that nobody declared is a typing error and gets a 400 naming it."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError({name: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


def validated(serializer_class: type[serializers.BaseSerializer[Any]], data: Any, **kwargs: Any) -> Any:
    """The checked values of a body. Raises DRF's ValidationError, which becomes INVALID_BODY."""
    if not kwargs:
        if (shared := _shared.get(serializer_class)) is None:
            shared = _shared[serializer_class] = serializer_class()
        return shared.run_validation(data)
    serializer = serializer_class(data=data, **kwargs)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


# A check keeps nothing in a serializer; to copy its fields for each body would take longer than to check.
_shared: dict[type[serializers.BaseSerializer[Any]], serializers.BaseSerializer[Any]] = {}
