"""From a blocking iterator to an async stream that ends with its client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextvars import copy_context
from typing import Any, TypeVar

from django.db import connections
from django.http import StreamingHttpResponse
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.request import Request

T = TypeVar("T")
_END = object()


async def in_thread(items: Iterator[T], *, cancel: Callable[[], None]) -> AsyncGenerator[T, None]:
    """Yield what a blocking iterator gives, as it comes, from a thread of its own.

    When the consumer goes away, `cancel` is called at once: it must make the iterator end soon.
    An exception of the iterator is raised here.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(item: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def pump() -> None:
        try:
            for item in items:
                put(item)
        except Exception as error:  # noqa: BLE001 - handed on to the consumer, whatever it is
            put(error)
        finally:
            connections.close_all()
            put(_END)

    threading.Thread(target=copy_context().run, args=(pump,), name="stream", daemon=True).start()
    try:
        while (item := await queue.get()) is not _END:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        cancel()


def sse(event: str, data: Any, *, event_id: str | None = None) -> bytes:
    """One server-sent event with a JSON body."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def sse_response(events: AsyncIterator[bytes]) -> StreamingHttpResponse:
    """An answer that no proxy and no browser holds back."""
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    return response


class StreamNegotiation(BaseContentNegotiation):
    """For views that stream: any Accept will do, EventSource sends text/event-stream."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return DefaultContentNegotiation().select_parser(request, parsers)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
