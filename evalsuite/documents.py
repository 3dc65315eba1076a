"""What the API's document says of the usual operations, so that each view says it in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from evalsuite.openapi import PAGE_PARAMETERS, envelope, errors, page_of

READ_ERRORS = errors(401, 403, 404, 406)
LIST_ERRORS = errors(400, 401, 403, 404, 406)
WRITE_ERRORS = errors(400, 401, 403, 404, 406, 409, 413, 415)
Serializer = type[serializers.BaseSerializer[Any]]
View = TypeVar("View", bound=Callable[..., Any])


def lists(name: str, key: str, answer: Serializer, *parameters: OpenApiParameter) -> Any:
    """`name` is the operation's noun, in snake case."""
    return extend_schema(
        operation_id=f"{name}_list",
        parameters=[*PAGE_PARAMETERS, *parameters],
        responses={200: page_of(key, answer), **LIST_ERRORS},
    )


def creates(name: str, body: Serializer, answer: Any) -> Callable[[View], View]:
    """`answer` is the whole body of the 201."""
    return extend_schema(operation_id=f"{name}_create", request=body, responses={201: answer, **WRITE_ERRORS})


def describes(
    name: str, key: str, answer: Serializer, changes: Serializer | None, *parameters: OpenApiParameter
) -> dict[str, Any]:
    """Read, change (where `changes` says what) and delete, for `extend_schema_view`."""
    whole = envelope(key, answer)
    operations = {
        "get": extend_schema(
            operation_id=f"{name}_read",
            parameters=[*parameters],
            responses={200: whole, **(LIST_ERRORS if parameters else READ_ERRORS)},
        ),
        "delete": extend_schema(
            operation_id=f"{name}_delete", responses={204: None, **READ_ERRORS, **errors(409)}
        ),
    }
    if changes is not None:
        operations["patch"] = extend_schema(
            operation_id=f"{name}_update",
            request=changes(partial=True),
            responses={200: whole, **WRITE_ERRORS},
        )
    return operations


def acts(name: str, body: Any, answers: Any, *, statuses: Sequence[int] = ()) -> Callable[[View], View]:
    """A POST that does something: `answers` by status, and the errors beyond the usual ones."""
    return extend_schema(
        operation_id=name, request=body, responses={**answers, **WRITE_ERRORS, **errors(*statuses)}
    )
