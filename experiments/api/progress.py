"""A batch as it goes on: server-sent events until it has ended, or the same by asking again and again."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.documents import LIST_ERRORS
from evalsuite.errors import NotFound
from evalsuite.openapi import event_stream
from evalsuite.streams import StreamNegotiation
from experiments.api import feeds
from experiments.api.batches import BatchSerializer, BatchView
from experiments.services import progress
from experiments.services.progress import CURSOR, Closed, Cursor, Look

CURSOR_OR_NONE = {"type": "string", "pattern": f"^({CURSOR})?$"}


class ClosedSerializer(serializers.Serializer[Closed]):
    """A cell that closed. Its latency is null where it has none of its own."""

    runId = serializers.UUIDField(source="cursor.run_id")
    variantId = serializers.UUIDField(source="variant_id")
    inputKey = serializers.CharField(source="input_key")
    repeat = serializers.IntegerField()
    state = serializers.CharField()
    latencyMs = serializers.IntegerField(source="latency_ms", allow_null=True)


class ProgressSerializer(BatchSerializer):
    """The batch, how fast it goes, and the cells that closed since the last time."""

    throughput = serializers.FloatField(
        help_text="Cells per second over the last five seconds; where few closed, over the last minute."
    )
    etaSeconds = serializers.FloatField(allow_null=True)
    closed = ClosedSerializer(many=True, help_text=f"In order, at most {progress.TOLD_AT_ONCE}.")
    cursor = serializers.CharField(help_text="What to ask for next: `after`, or `Last-Event-ID`.")


def body(look: Look, cells: list[Closed], cursor: Cursor) -> dict[str, Any]:
    """What an event and an answer hold, as plain JSON values."""
    batch = json.loads(JSONRenderer().render(BatchSerializer(look.batch).data))
    closed = [
        {
            "runId": str(cell.cursor.run_id),
            "variantId": str(cell.variant_id),
            "inputKey": cell.input_key,
            "repeat": cell.repeat,
            "state": cell.state,
            "latencyMs": cell.latency_ms,
        }
        for cell in cells
    ]
    return {
        **batch,
        "throughput": look.throughput,
        "etaSeconds": look.eta_s,
        "closed": closed,
        "cursor": str(cursor),
    }


class BatchEvents(BatchView):
    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="batch_events",
        parameters=[
            OpenApiParameter(
                "Last-Event-ID",
                CURSOR_OR_NONE,
                OpenApiParameter.HEADER,
                description="Go on behind this event. `0`: from the first cell on. Left out: from now on.",
            )
        ],
        responses={
            **event_stream(
                "`progress` events as `batch_progress` answers, each with its cursor as id; "
                "the last one, when the batch has ended, is called `finished`.",
                "progress",
                "finished",
                "error",
            ),
            **LIST_ERRORS,
        },
    )
    def get(self, request: Request, **ids: str) -> HttpResponseBase:
        last = request.headers.get("Last-Event-ID")
        after = Cursor.parse(last) if last else None
        batch_id = self.find().pk
        return self.stream(feeds.events(batch_id, body, after))


class BatchProgress(BatchView):
    @extend_schema(
        operation_id="batch_progress",
        parameters=[
            OpenApiParameter(
                "after",
                CURSOR_OR_NONE,
                description="A cursor from before. `0`: from the first cell. Left out: from now on.",
            )
        ],
        responses={200: ProgressSerializer, **LIST_ERRORS},
    )
    def get(self, request: Request, **ids: str) -> Response:
        """Without server-sent events: ask again with the `cursor`, at once while `closed` is full."""
        after = request.query_params.get("after")
        begin = Cursor.parse(after) if after else None
        batch = self.find()
        look = progress.look(batch.pk)
        if look is None:  # deleted this moment
            raise NotFound("batch")
        if begin is None:
            return Response(body(look, [], progress.latest(look)))
        cells = progress.closed_after(begin, look)[: progress.TOLD_AT_ONCE]
        return Response(body(look, cells, cells[-1].cursor if cells else begin))
