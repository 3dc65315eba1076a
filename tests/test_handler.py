"""Threads of requests: one for each at a time, and used again."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connection

from evalsuite import handler


@pytest.fixture
def threads(monkeypatch):
    """Stands for Django's part: where each request's code ran, in order of the requests."""
    seen = []

    async def handle(self, scope, receive, send):
        place = len(seen)
        seen.append(set())
        for _ in range(3):
            seen[place].add(await sync_to_async(threading.get_ident)())
            await asyncio.sleep(0.01)
        if scope.get("fails"):
            raise RuntimeError("on purpose")

    monkeypatch.setattr(ASGIHandler, "handle", handle)
    monkeypatch.setattr(handler.OneThreadHandler, "handle", handle)
    return seen


def request(one, **facts):
    return one({"type": "http", **facts}, None, None)


def run(coroutine):
    """In a thread of its own: the browser tests of this process may have an event loop in this one."""
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(asyncio.run, coroutine).result()


def test_a_thread_serves_one_request_after_the_other(threads):
    one = handler.OneThreadHandler()

    async def follow():
        await request(one)
        with pytest.raises(RuntimeError):
            await request(one, fails=True)
        await request(one)

    run(follow())
    assert [len(each) for each in threads] == [1, 1, 1]
    assert threads[0] == threads[1] == threads[2] != {threading.get_ident()}


def test_requests_at_the_same_time_have_a_thread_each_and_few_are_kept(threads, monkeypatch):
    monkeypatch.setattr(handler, "MOST_IDLE", 2)
    one = handler.OneThreadHandler()

    async def at_once():
        await asyncio.gather(*(request(one) for _ in range(5)))

    run(at_once())
    assert [len(each) for each in threads] == [1] * 5
    assert len(set.union(*threads)) == 5
    assert len(one._idle) == 2


@pytest.mark.django_db(transaction=True)
def test_what_a_request_asked_of_the_database_is_over_with_it(client):
    """The thread lives on; its connection does not."""
    open_after = []

    class Noting(handler.OneThreadHandler):
        def _respond(self, request):
            open_after.append(connection.connection is not None)
            return super()._respond(request)

    one = Noting()
    sent = []

    async def send(message):
        sent.append(message)

    async def follow():
        for _ in range(2):
            coming = [{"type": "http.request", "body": b"", "more_body": False}]

            async def receive(coming=coming):
                while not coming:
                    await asyncio.Event().wait()
                return coming.pop()

            path = "/readyz"
            scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
            await one({**scope, "query_string": b"", "root_path": "", "http_version": "1.1"}, receive, send)

    run(follow())
    assert [message["status"] for message in sent if "status" in message] != []
    assert open_after == [False, False]
