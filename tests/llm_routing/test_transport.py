"""Nothing hangs, and everything ends when it is told to: the HTTP below all providers."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from llm_routing.errors import (
    Cancelled,
)
from llm_routing.providers import connections
from llm_routing.providers.calls import CallHandle
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits
from tests.fakes.server import Dribble, Endless, Pause, Script
from tests.llm_routing.calling import LONG, cancelled_after, late, read_all


@pytest.fixture
def silent_port():
    """A port that never completes a connection: its queue of waiting ones is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    time.sleep(0.05)
    yield listener.getsockname()[1]
    for opened in [listener, *waiting]:
        opened.close()


@pytest.fixture
def slow_names(monkeypatch):
    """A name server that does not answer."""
    let_go = threading.Event()
    monkeypatch.setattr(connections, "_lookup", lambda *_: let_go.wait(20) and [])
    yield
    let_go.set()


def test_cancel_while_the_name_is_looked_up(slow_names):
    assert cancelled_after(0.1, Transport("http://model.test")) < 1


def test_cancel_while_connecting(silent_port):
    assert cancelled_after(0.1, Transport(f"http://127.0.0.1:{silent_port}")) < 1


def test_cancel_while_waiting_for_the_head(server):
    server.enqueue(Script(before=[Pause()]))
    assert cancelled_after(0.1, Transport(server.url)) < 1
    assert server.wait_until_left(server.requests[0]) < 1


def test_cancel_in_the_middle(server):
    server.enqueue(Script([b"one\n", Pause()]))
    assert cancelled_after(0.1, Transport(server.url)) < 1
    assert server.wait_until_left(server.requests[0]) < 1


def test_cancel_against_an_endless_stream(server):
    server.enqueue(Script([Endless(b"more\n" * 100)]))
    assert cancelled_after(0.1, Transport(server.url)) < 1


def test_cancel_on_a_kept_connection(server):
    client = Transport(server.url)
    server.enqueue(Script([b"one\n"]), Script(before=[Pause()]))
    read_all(client, LONG)
    assert cancelled_after(0.1, client) < 1
    assert [seen.connection for seen in server.requests] == [1, 1]


def test_cancelled_before_it_began_sends_nothing(server):
    handle = CallHandle()
    handle.cancel()
    with pytest.raises(Cancelled):
        read_all(Transport(server.url), LONG, handle)
    assert server.requests == []


def test_late_cancel_does_not_touch_the_next_call_on_the_connection(server):
    client, handle = Transport(server.url), CallHandle()
    server.enqueue(Script([b"one\n"]), Script([b"two\n", Pause(0.2), b"three\n"]))
    read_all(client, LONG, handle)
    threading.Timer(0.1, handle.cancel).start()
    assert read_all(client, LONG) == ["two", "three"]
    assert [seen.connection for seen in server.requests] == [1, 1]


def test_connect_limit(silent_port):
    assert 0.2 < late(Transport(f"http://127.0.0.1:{silent_port}"), "connect", connect_s=0.3) < 1.5


def test_connect_limit_covers_the_look_up_of_the_name(slow_names):
    assert 0.2 < late(Transport("http://model.test"), "connect", connect_s=0.3) < 1.5


def test_head_that_comes_byte_by_byte_is_late(server):
    server.enqueue(Script(before=[Dribble(b"HTTP/1.1 200 OK\r\nA: b\r\n" * 9, 0.1)]))
    assert 0.2 < late(Transport(server.url), "first_token", first_token_s=0.3) < 1.5


def test_head_alone_is_no_first_token(server):
    server.enqueue(Script([Pause()]))
    assert 0.2 < late(Transport(server.url), "first_token", first_token_s=0.3) < 1.5


def test_line_that_comes_byte_by_byte_is_silence(server):
    server.enqueue(Script([b"one\n", Dribble(b"x" * 100, 0.1)]))
    assert 0.2 < late(Transport(server.url), "idle", idle_s=0.3) < 1.5


@pytest.mark.parametrize(
    "step", [Dribble(b"x\n" * 100, 0.05), Endless(b"\n" * 100), Endless(b"y\n"), Endless(b": ping\n")]
)
def test_total_limit_ends_what_never_ends(server, step):
    server.enqueue(Script([b"one\n", step]))
    assert 0.4 < late(Transport(server.url), "total", total_s=0.5) < 1.5


def test_total_limit_while_waiting_for_the_first_token(server):
    server.enqueue(Script(before=[Pause()]))
    assert 0.2 < late(Transport(server.url), "total", total_s=0.3) < 1.5


def test_slow_reader_is_not_the_servers_silence(server):
    server.enqueue(Script([b"one\n", b"two\n"]))
    with Transport(server.url).open("GET", "/", limits=Limits(idle_s=0.1)) as exchange:
        lines = []
        for line in exchange.lines():
            exchange.first_token()
            time.sleep(0.3)
            lines.append(line)
    assert lines == ["one", "two"]
