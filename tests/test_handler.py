"""Threads of requests: one for each at a time, used again, and few at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connection
from django.http import HttpResponse

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
        return elsewhere.submit(asyncio.run, coroutine).result()


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

    async def follow():
        return [await answered(one, "/readyz") for _ in range(2)]

    assert run(follow()) == [200, 200]
    assert open_after == [False, False]


async def answered(one, path, method="GET", *, leaves=None):
    """The status of the answer; None where the reader has left before: once the event `leaves` is set."""
    coming = [{"type": "http.request", "body": b"", "more_body": False}]
    statuses = []

    async def receive():
        if not coming:
            await (leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        return coming.pop()

    async def send(message):
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
    scope |= {"headers": [(b"host", b"testserver")], "query_string": b"", "root_path": ""}
    await one({**scope, "http_version": "1.1"}, receive, send)
    return statuses[0] if statuses else None


class Holding(handler.OneThreadHandler):
    """Holds each answer back until it is let go, except for probes."""

    def __init__(self):
        super().__init__()
        self.begun = []  # method and path
        self.may_go = threading.Event()

    def _respond(self, request):
        self.begun.append(f"{request.method} {request.path}")
        if request.path != "/healthz":
            assert self.may_go.wait(30)
        return HttpResponse()

    async def until_begun(self, number):
        async with asyncio.timeout(30):
            while len(self.begun) < number:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("at_once", [1, 3])
def test_pages_are_read_a_few_at_once_in_their_order(monkeypatch, at_once):
    monkeypatch.setattr(handler, "PATIENCE_S", 60)
    monkeypatch.setattr(handler, "READS_AT_ONCE", at_once)
    one = Holding()
    pages = [f"GET /{number}" for number in range(6)]

    async def follow():
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(answered(one, f"/{number}"))
            await one.until_begun(at_once)
            writes = [tasks.create_task(answered(one, "/write", "POST")) for _ in range(3)]
            assert await answered(one, "/healthz") == 200
            await one.until_begun(at_once + 4)
            one.may_go.set()
        assert [task.result() for task in writes] == [200] * 3

    run(follow())
    assert sorted(one.begun[:at_once]) == pages[:at_once]
    assert sorted(one.begun[at_once : at_once + 4]) == ["GET /healthz", *["POST /write"] * 3]
    later = one.begun[at_once + 4 :]
    assert sorted(later) == pages[at_once:]
    assert at_once > 1 or later == pages[at_once:]  # threads that begin together come in any order


def test_who_has_waited_for_long_is_answered_beside_those_that_hang(monkeypatch):
    monkeypatch.setattr(handler, "PATIENCE_S", 0.05)
    monkeypatch.setattr(handler, "READS_AT_ONCE", 2)
    one = Holding()

    async def follow():
        async with asyncio.TaskGroup() as tasks:
            held = [tasks.create_task(answered(one, f"/{number}")) for number in range(4)]
            await one.until_begun(4)
            one.may_go.set()
        assert [task.result() for task in held] == [200] * 4
        return one._reads._value

    assert run(follow()) == 2  # only those with a turn gave one back


@pytest.fixture
def one_at_once(monkeypatch):
    monkeypatch.setattr(handler, "PATIENCE_S", 60)
    monkeypatch.setattr(handler, "READS_AT_ONCE", 1)
    return Holding()


def test_a_reader_that_leaves_before_the_turn_takes_none(one_at_once):
    one = one_at_once

    async def follow():
        leaves = asyncio.Event()
        held = asyncio.create_task(answered(one, "/held"))
        await one.until_begun(1)
        left = asyncio.create_task(answered(one, "/left", leaves=leaves))
        stays = asyncio.create_task(answered(one, "/stays"))
        await asyncio.sleep(0.05)
        leaves.set()
        assert await left is None
        one.may_go.set()
        return await held, await stays

    assert run(follow()) == (200, 200)
    assert one.begun == ["GET /held", "GET /stays"]


def test_a_reader_that_leaves_gives_the_turn_back_when_the_thread_is_free(one_at_once):
    one = one_at_once

    async def follow():
        leaves = asyncio.Event()
        left = asyncio.create_task(answered(one, "/left", leaves=leaves))
        await one.until_begun(1)
        leaves.set()
        stays = asyncio.create_task(answered(one, "/stays"))
        await asyncio.sleep(0.2)
        begun = list(one.begun)
        one.may_go.set()
        return begun, await left, await stays

    assert run(follow()) == (["GET /left"], None, 200)
    assert one._reads._value == 1
