"""The org's audit log, page by page and as a file."""

from __future__ import annotations

from typing import ClassVar

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request

from evalsuite.audit.export import CONTENT_TYPE, EventSerializer, export
from evalsuite.audit.filters import LONGEST, found, wish_of
from evalsuite.audit.models import AuditEvent
from evalsuite.documents import LIST_ERRORS, lists
from evalsuite.openapi import MOMENT
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.resources import Paged, Resource
from evalsuite.streams import StreamNegotiation

TEXT = {"type": "string", "maxLength": LONGEST}
FILTERS = [
    OpenApiParameter("event", TEXT, description="A name, or its beginning up to a dot, as `experiment.run`."),
    OpenApiParameter("actor", TEXT, description="The id or the user name of a person."),
    OpenApiParameter("object", TEXT, description="The id of what was changed."),
    OpenApiParameter("from", MOMENT, description="A day or a time in ISO 8601; UTC where it has no zone."),
    OpenApiParameter("to", MOMENT, description="The same; a day is included to its end."),
]


@extend_schema_view(get=lists("audit", "events", EventSerializer, *FILTERS))
class AuditList(Resource, Paged):
    required_permission: ClassVar[Permission] = "org:audit:read"
    serializer_class = EventSerializer
    list_key = "events"

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return found(self.org, wish_of(self.request.query_params))


class AuditExport(Resource):
    required_permission: ClassVar[Permission] = "org:audit:read"
    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="audit_export",
        description="One event as a JSON object in each line, the oldest first, in the form of the list.",
        parameters=FILTERS,
        responses={(200, CONTENT_TYPE): OpenApiResponse(bytes, "The file."), **LIST_ERRORS},
    )
    def get(self, request: Request, org_id: str) -> StreamingHttpResponse:
        return export(self.org, wish_of(request.query_params))
