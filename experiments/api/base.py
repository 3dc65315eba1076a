"""What the views of all objects share: who may, how bodies are checked, pages and single objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as ImpossibleValue
from django.utils.functional import cached_property
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import validated
from evalsuite.errors import InvalidBody
from evalsuite.models import Row
from evalsuite.orgs.api import OrgApiView
from evalsuite.orgs.permissions import Permission
from evalsuite.pagination import NewestFirst
from experiments.models import Experiment
from experiments.services import changes

READ: Permission = "org:experiments:read"
WRITE: Permission = "org:experiments:write"
RATE: Permission = "org:experiments:rate"
Answer = type[serializers.BaseSerializer[Any]]


class ExperimentsView(OrgApiView):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": READ,
        "POST": WRITE,
        "PATCH": WRITE,
        "DELETE": WRITE,
    }

    @classmethod
    def permission_for(cls, method: str) -> Permission:
        """A method that the view lacks gets as far as its 405 with the right to read."""
        return super().permission_for(method if hasattr(cls, method.lower()) else "OPTIONS")

    @cached_property
    def experiment(self) -> Experiment:
        """The one in the URL. Raises NotFound."""
        found: Experiment = Experiment.objects.for_org(self.org).find(self.kwargs["experiment_id"])
        found.org = self.org
        return found

    def checked(self, body: type[serializers.BaseSerializer[Any]], **options: Any) -> Any:
        """The values of the request's body. Raises InvalidBody naming each field, as `inputs.3.key`."""
        try:
            return validated(body, self.request.data, context={"org": self.org}, **options)
        except ValidationError as error:
            raise InvalidBody(dict(_by_path(error.detail))) from error

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The methods are in the header `Allow`; what they take is in the document."""
        return Response(status=204)


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


class ListView(ExperimentsView, GenericAPIView):
    """`get_queryset` page by page, newest first."""

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


class DetailView(ExperimentsView):
    """Read, change and remove the row that `find` gives. `changes_body` says what may change."""

    key: ClassVar[str]
    answer: ClassVar[Answer]
    changes_body: ClassVar[type[serializers.BaseSerializer[Any]]]

    def find(self) -> Any:
        """The row in the URL, looked up through the org. Raises NotFound."""
        raise NotImplementedError

    def change(self, row: Any, given: dict[str, Any]) -> None:
        changes.update(row, org=self.org, actor=self.user, changes=given)

    def remove(self, row: Row) -> None:
        name = next((name for name in ("key", "name") if hasattr(row, name)), "id")
        facts = changes.told(row, [name])
        changes.delete(row, org=self.org, actor=self.user, facts=facts)

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
