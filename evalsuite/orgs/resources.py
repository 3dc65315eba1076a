"""Views of an org's objects: how bodies are checked, lists page by page, and single objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as ImpossibleValue
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import validated
from evalsuite.errors import InvalidBody
from evalsuite.orgs.api import OrgApiView
from evalsuite.orgs.permissions import Permission
from evalsuite.pagination import NewestFirst

Body = type[serializers.BaseSerializer[Any]]
Answer = type[serializers.BaseSerializer[Any]]


class Resource(OrgApiView):
    """A view of an org's objects. `required_permission` names one for each method."""

    @classmethod
    def permission_for(cls, method: str) -> Permission:
        """A method that the view lacks gets as far as its 405 with the right to read."""
        return super().permission_for(method if hasattr(cls, method.lower()) else "OPTIONS")

    def checked(self, body: Body, **options: Any) -> Any:
        """The values of the request's body. Raises InvalidBody naming each field, as `inputs.3.key`."""
        return checked(body, self.request.data, context={"org": self.org}, **options)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The methods are in the header `Allow`; what they take is in the document."""
        return Response(status=204)


def checked(body: Body, data: Any, **options: Any) -> Any:
    """The values of a body. Raises InvalidBody naming each field by its dotted path."""
    try:
        return validated(body, data, **options)
    except ValidationError as error:
        raise InvalidBody(dict(_by_path(error.detail))) from error


def _by_path(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Nested reasons, each under its dotted path."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            steps = [path, "" if name == "non_field_errors" else str(name)]
            yield from _by_path(inner, ".".join(filter(None, steps)))
    elif any(isinstance(inner, dict | list) for inner in detail):
        for number, inner in enumerate(detail):
            yield from _by_path(inner, f"{path}.{number}") if inner else ()
    else:
        yield path or "body", [str(reason) for reason in detail]


class Paged(GenericAPIView):
    """`get_queryset` page by page, newest first. `list_key` names the rows in the answer."""

    pagination_class = NewestFirst
    list_key: ClassVar[str]

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.page(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def page(self, rows: Any) -> list[Any]:
        try:
            return list(self.paginate_queryset(rows) or ())
        except ImpossibleValue as error:  # a cursor that was not made here
            raise ParseError("Invalid cursor.") from error


class Detail(Resource):
    """Read, change and remove the row that `find` gives. `changes_body` says what may change."""

    key: ClassVar[str]
    answer: ClassVar[Answer]
    changes_body: ClassVar[Body]

    def find(self) -> Any:
        """The row in the URL, looked up through the org. Raises NotFound."""
        raise NotImplementedError

    def change(self, row: Any, given: dict[str, Any]) -> None:
        """Write what was given. `given` has names of the model's fields."""
        raise NotImplementedError

    def remove(self, row: Any) -> None:
        """Delete the row."""
        raise NotImplementedError

    def get(self, request: Request, **ids: str) -> Response:
        return self.respond(self.find())

    def patch(self, request: Request, **ids: str) -> Response:
        row = self.find()
        self.change(row, dict(self.checked(self.changes_body, partial=True, instance=row)))
        return self.respond(row)

    def delete(self, request: Request, **ids: str) -> Response:
        self.remove(self.find())
        return Response(status=204)

    def respond(self, row: Any, *, status: int = 200) -> Response:
        return Response({self.key: self.answer(row).data}, status=status)
