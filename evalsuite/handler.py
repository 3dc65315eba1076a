"""How a request becomes an answer: in a thread, while the event loop sends what others stream."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from evalsuite.bodies import BoundedBody
from evalsuite.web import PROBES

MOST_IDLE = 32  # threads that wait for the next request
READS_AT_ONCE = 3  # one keeps a core busy while the others wait for the database
PATIENCE_S = 1.0  # then a page is read beside those

# A way to the request's thread and back for each; `OneThreadHandler` calls them where it is there anyway.
for receiver in (close_old_connections, reset_queries):
    request_started.disconnect(receiver)


class OneThreadHandler(ASGIHandler):
    """Middleware and view of a request run in one thread, with one way there and back.

    Our views are plain functions of requests. Django's own handler changes between the event loop and that
    thread for the middlewares as well, a dozen times, and waits for both each time; it makes a thread for
    each request, and another that ends it. Only what an answer streams is made in the loop.

    Pages are read in their order of coming, a few at once: all threads share one core, and where a dozen
    take turns on it, each of them comes as late as the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[ThreadPoolExecutor] = []  # touched by the event loop alone
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await super().__call__(scope, receive, send)
        finally:
            if len(self._idle) < MOST_IDLE:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await super().handle(scope, BoundedBody(scope, receive), send)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        has_turn = await self._turn(request)
        try:
            return await sync_to_async(self._respond, thread_sensitive=True)(request)
        except asyncio.CancelledError:
            # Whoever asked has left; the thread works on, and keeps its turn until it is free.
            await sync_to_async(_nothing, thread_sensitive=True)()
            raise
        finally:
            if has_turn:
                self._reads.release()

    async def _turn(self, request: HttpRequest) -> bool:
        """True when the request has a turn, to be given back; those that wait for no other have none.

        A write may take as long as the model that it calls. Who has waited for long goes without a turn: what
        the others are held up by, perhaps a database that hangs, may not concern this one.
        """
        if request.method != "GET" or request.path_info.strip("/") in PROBES:
            return False
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._reads.acquire()
        except TimeoutError:
            return False

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        reset_queries()
        close_old_connections()
        return self.get_response(request)


def _nothing() -> None:
    pass
