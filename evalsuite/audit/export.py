"""The audit log as a file: one JSON object a line, made while it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from evalsuite.audit.filters import Wish, found
from evalsuite.audit.models import AuditEvent
from evalsuite.fields import Moment, ObjectField, RowSerializer
from evalsuite.orgs.models import Org
from evalsuite.streams import in_steps

AT_ONCE = 1_000  # rows that are in memory
CONTENT_TYPE = "application/x-ndjson"


class EventSerializer(RowSerializer):
    id = serializers.UUIDField()
    createdAt = Moment(source="created_at")
    event = serializers.CharField()
    actorId = serializers.UUIDField(
        source="actor_id", allow_null=True, help_text="null: the product itself, or nobody who was known."
    )
    actorName = serializers.CharField(source="actor_name", help_text="The user name at that time.")
    objectType = serializers.CharField(source="object_type")
    objectId = serializers.CharField(source="object_id")
    before = ObjectField(allow_null=True, help_text="Long texts are told by length and hash, secrets never.")
    after = ObjectField(allow_null=True)
    address = serializers.CharField(allow_null=True)
    requestId = serializers.CharField(source="request_id")


def export(org: Org, wish: Wish) -> StreamingHttpResponse:
    """The events that are asked for, the oldest first."""
    response = StreamingHttpResponse(in_steps(_lines(found(org, wish))), content_type=CONTENT_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{org.slug}-audit.jsonl"'
    return response


def _lines(events: QuerySet[AuditEvent]) -> Iterator[bytes]:
    """Page by page: no cursor stays open between them."""
    render = JSONRenderer().render
    events = events.order_by("pk")
    page = list(events[:AT_ONCE])
    while page:
        told = EventSerializer(page, many=True).data
        yield b"".join(render(one) + b"\n" for one in told)
        page = list(events.filter(pk__gt=page[-1].pk)[:AT_ONCE])
