"""From a blocking iterator to an async stream that ends with its client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from contextvars import copy_context
from typing import Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import StreamingHttpResponse
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.request import Request

from evalsuite import context, databases
from evalsuite.watching import Allowed, open_streams

T = TypeVar("T")
_END = object()
PULSE_S = 15.0
_as_json = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` makes one for each event


async def in_thread(items: Iterator[T], *, cancel: Callable[[], None]) -> AsyncGenerator[T, None]:
    """Yield what a blocking iterator gives, as it comes, from a thread of its own.

    When the consumer goes away, `cancel` is called at once: it must make the iterator end soon.
    An exception of the iterator is raised here.
    """
    async with aclosing(in_threads([items], cancel=cancel)) as events:
        async for item in events:
            yield item


async def in_threads(
    iterators: Sequence[Iterator[T]], *, cancel: Callable[[], None]
) -> AsyncGenerator[T, None]:
    """Yield what several blocking iterators give, as it comes, each from a thread of its own.

    Ends with the last of them. Else as `in_thread`.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(item: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def pump(items: Iterator[T]) -> None:
        try:
            for item in items:
                put(item)
        except Exception as error:  # noqa: BLE001 - handed on to the consumer, whatever it is
            put(error)
        finally:
            connections.close_all()
            put(_END)

    for items in iterators:
        threading.Thread(target=copy_context().run, args=(pump, items), name="stream", daemon=True).start()
    going = len(iterators)
    try:
        while going:
            item = await queue.get()
            if item is _END:
                going -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        cancel()


async def in_steps(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield what a blocking iterator gives, one at a time: the next is made when the last was sent."""
    while (item := await sync_to_async(lambda: next(items, _END))()) is not _END:
        yield cast("T", item)


def sse(event: str, data: Any, *, event_id: str | None = None) -> bytes:
    """One server-sent event with a JSON body."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: {_as_json(data)}\n\n".encode()


async def _with_facts(
    facts: context.RequestFacts, events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """The request is over, for its middleware, when the stream begins: what it noted is noted again."""
    context.current.set(facts)
    async with aclosing(events):
        async for event in events:
            yield event


def sse_response(events: AsyncGenerator[bytes, None], *, allowed: Allowed) -> StreamingHttpResponse:
    """An answer that no proxy and no browser holds back, for as long as its reader may have it.

    To be called last: the request's connection to the database is given back, since the stream may stay
    open for hours.
    """
    databases.let_go()
    events = _with_facts(context.current.get(), while_allowed(events, allowed))
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    return response


async def while_allowed(
    events: AsyncGenerator[bytes, None], allowed: Allowed, *, pulse_s: float = PULSE_S
) -> AsyncGenerator[bytes, None]:
    """The same events until the reader has lost the right to them; then one called `error`, and the end.

    What makes the events is ended at once, even while the reader takes nothing. In each long silence comes
    a comment, so that no proxy takes the stream for dead.
    """
    loop = asyncio.get_running_loop()
    coming: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(1)  # the maker is one event ahead of the reader, no more
    lost = False

    async def make() -> None:
        async with aclosing(events):
            async for event in events:
                await room.acquire()
                coming.put_nowait(event)

    def end() -> None:
        nonlocal lost
        lost = True
        making.cancel()

    # One task for the whole stream: one for each event took an eighth of what passing it on costs.
    making = loop.create_task(make())
    making.add_done_callback(lambda _: coming.put_nowait(None))
    with open_streams.watched(allowed, lambda: loop.call_soon_threadsafe(end)):
        try:
            while True:
                try:
                    async with asyncio.timeout(pulse_s):
                        event = await coming.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if lost:
                    yield LOST
                    return
                if event is None:
                    making.result()
                    return
                room.release()
                yield event
        finally:
            making.cancel()
            await asyncio.wait([making])


LOST = sse("error", {"error": "FORBIDDEN", "details": {"message": "You may not see this any more."}})


class StreamNegotiation(BaseContentNegotiation):
    """For views that stream: any Accept will do, EventSource sends text/event-stream."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return DefaultContentNegotiation().select_parser(request, parsers)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
