"""A batch as it goes on: server-sent events until it has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from evalsuite.documents import READ_ERRORS
from evalsuite.streams import StreamNegotiation, sse, sse_response
from experiments.api.batches import BatchSerializer, BatchView
from experiments.models import Batch

LOOK_EVERY_S = 0.5
PING_EVERY = 30  # looks without a change until a comment keeps the connection alive


class BatchEvents(BatchView):
    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="batch_events",
        responses={
            (200, "text/event-stream"): OpenApiResponse(
                str,
                description="`progress` events with the batch, the last one when it has ended.",
            ),
            **READ_ERRORS,
        },
    )
    def get(self, request: Request, **ids: str) -> HttpResponseBase:
        return sse_response(_events(self.find().pk))


async def _events(batch_id: UUID) -> AsyncIterator[bytes]:
    told: Any = None
    quiet = 0
    while True:
        now = await sync_to_async(_look)(batch_id)
        if now is None:  # deleted
            return
        quiet = 0 if now != told else quiet + 1
        if now != told:
            yield sse("progress", now)
        elif quiet % PING_EVERY == 0:
            yield b": still here\n\n"
        told = now
        if now["finishedAt"]:
            return
        await asyncio.sleep(LOOK_EVERY_S)


def _look(batch_id: UUID) -> Any:
    batch = Batch.objects.with_progress().select_related("author").filter(pk=batch_id).first()
    if batch is None:
        return None
    return json.loads(JSONRenderer().render(BatchSerializer(batch).data))
