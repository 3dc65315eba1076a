"""One watcher for each batch and process: all streams that show it share its looks and its bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

from django.db import DatabaseError, connections

from evalsuite.streams import sse
from experiments.models import Batch
from experiments.services import progress
from experiments.services.progress import Closed, Cursor, Look

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_EVERY_S = 0.5
LOOK_AT_PAUSED_EVERY_S = 2.0  # somebody may leave a page open over night
MOST_WAITING = 5_000  # events that a stream may lag behind; then it is ended, and its client comes back
# Apart from the threads of requests, since a watcher outlives the request that began it.
_threads = ThreadPoolExecutor(2, thread_name_prefix="progress")
_feeds: dict[tuple[asyncio.AbstractEventLoop, UUID], Feed] = {}
Body = Callable[[Look, list[Closed], Cursor], Any]


class Feed:
    """Looks at a batch while anybody listens, and hands every event to all, rendered once."""

    def __init__(self, batch_id: UUID, body: Body) -> None:
        self.batch_id = batch_id
        self.body = body
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None  # kept, or it could be collected while it runs
        self.look: Look | None = None
        self.cursor = Cursor.beginning()
        self.queues: set[asyncio.Queue[bytes | None]] = set()
        self.ready = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        told: tuple[Any, ...] | None = None
        try:
            while self.queues and not self.ended:
                try:
                    told = await _in_thread(lambda told=told: self._step(told))  # type: ignore[misc]
                except DatabaseError:
                    log.warning("progress of batch %s cannot be read", self.batch_id, exc_info=True)
                self.ended = self.ended or bool(self.look and self.look.has_ended)
                if not self.ended:
                    await asyncio.sleep(self._pause())
        finally:
            self.ended = True
            self.ready.set()
            if _feeds.get((self.loop, self.batch_id)) is self:
                del _feeds[self.loop, self.batch_id]
            for queue in self.queues:
                queue.put_nowait(None)

    def _pause(self) -> float:
        is_paused = self.look is not None and self.look.batch.state == Batch.State.PAUSED
        return LOOK_AT_PAUSED_EVERY_S if is_paused else LOOK_EVERY_S

    def _step(self, told: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        """In a thread: look, and publish what is new. Answers what was told last."""
        loop_call = self.loop.call_soon_threadsafe
        try:
            now = progress.look(self.batch_id)
            if now is None:
                self.ended = True
                return None
            if told is None:
                cursor = progress.latest(now)
                loop_call(self._begin, now, cursor)
                return _facts(now)
            cells = progress.closed_after(self.cursor, now)
            if cells or _facts(now) != told or now.has_ended:
                events = list(_events(self.body, now, cells, self.cursor))
                loop_call(self._publish, now, cells[-1].cursor if cells else self.cursor, events)
            return _facts(now)
        finally:
            connections.close_all()

    def _begin(self, now: Look, cursor: Cursor) -> None:
        self.look, self.cursor = now, cursor
        self.ready.set()

    def _publish(self, now: Look, cursor: Cursor, events: list[bytes]) -> None:
        self.look, self.cursor = now, cursor
        for queue in list(self.queues):
            if queue.qsize() + len(events) > MOST_WAITING:
                self.queues.discard(queue)
                queue.put_nowait(None)
                continue
            for event in events:
                queue.put_nowait(event)


def _facts(now: Look) -> tuple[Any, ...]:
    """What makes an event worth telling: throughput alone does not."""
    batch: Any = now.batch
    return (
        batch.state,
        batch.paused_reason,
        batch.tokens,
        *(getattr(batch, state) for state in ("queued", "running", "succeeded", "failed", "cancelled")),
    )


def _events(body: Body, now: Look, cells: list[Closed], cursor: Cursor) -> list[bytes]:
    """The last one is called `finished` where the batch has ended."""
    parts = list(progress.in_parts(cells))
    events = []
    for number, part in enumerate(parts, 1):
        cursor = part[-1].cursor if part else cursor
        is_last = now.has_ended and number == len(parts)
        name = "finished" if is_last else "progress"
        events.append(sse(name, body(now, part, cursor), event_id=str(cursor)))
    return events


async def events(batch_id: UUID, body: Body, after: Cursor | None) -> AsyncGenerator[bytes, None]:
    """Server-sent events until the batch has ended: first how it stands, and all cells after the cursor."""
    feed, queue = _join(batch_id, body)
    try:
        await feed.ready.wait()
        now, cursor = feed.look, feed.cursor
        if now is None:  # deleted
            return
        while not queue.empty():  # told by what follows
            queue.get_nowait()
        missed: list[Closed] = []
        if after is not None and after < cursor:
            missed = [cell for cell in await _in_thread(_closed_after(after, now)) if cell.cursor <= cursor]
        for event in _events(body, now, missed, max(after, cursor) if after else cursor):
            yield event
        if now.has_ended:
            return
        async for event in _queued(feed, queue):
            yield event
    finally:
        feed.queues.discard(queue)


async def _queued(feed: Feed, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while True:
        if feed.ended and queue.empty():
            return
        event = await queue.get()
        if event is None:
            return
        yield event


def _join(batch_id: UUID, body: Body) -> tuple[Feed, asyncio.Queue[bytes | None]]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    feed = _feeds.get((loop, batch_id))
    if feed is None or feed.ended:
        feed = _feeds[loop, batch_id] = Feed(batch_id, body)
        feed.queues.add(queue)
        feed.task = loop.create_task(feed.run())
    feed.queues.add(queue)
    return feed, queue


def _closed_after(cursor: Cursor, now: Look) -> Callable[[], list[Closed]]:
    def read() -> list[Closed]:
        try:
            return progress.closed_after(cursor, now)
        finally:
            connections.close_all()

    return read


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, work)
