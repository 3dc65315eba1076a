"""Bounds, kept connections, TLS, and secrets that stay secret: the HTTP below all providers."""

from __future__ import annotations

import datetime
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime

import pytest

from evalsuite.env import ROOT
from llm_routing.errors import (
    AnswerTooLarge,
    BadProviderRequest,
    BrokenStream,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
)
from llm_routing.providers import exchange as reading
from llm_routing.providers.exchange import retry_after
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits
from tests.fakes.server import Cut, Endless, Pause, Script
from tests.llm_routing.calling import LONG, cancelled_after, late, read_all

SECRET = "sk-very-secret-key"


def test_endless_line_is_bounded(server, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 100_000)
    server.enqueue(Script([Endless(b"x" * 10_000)]))
    with pytest.raises(AnswerTooLarge):
        read_all(Transport(server.url), LONG)


def test_line_of_several_megabytes_is_read(server):
    server.enqueue(Script([b"x" * 7_000_000, b"\nend\n"]))
    assert [len(line) for line in read_all(Transport(server.url), LONG)] == [7_000_000, 3]


def test_long_lines_are_read_one_at_a_time_and_all_of_them(server):
    server.enqueue(*[Script([b"x" * 2_000_000, b"\nend\n"]) for _ in range(8)])
    shared = Transport(server.url)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: [len(line) for line in read_all(shared, LONG)], range(8)))
    assert read == [[2_000_000, 3]] * 8


def test_a_call_whose_time_is_over_waits_for_no_place(server):
    server.enqueue(Script([b"x" * 2_000_000, Pause(30)]))
    with reading._Place.FREE, pytest.raises(ProviderTimeout):
        read_all(Transport(server.url), Limits(first_token_s=0.5, idle_s=0.5, total_s=1))


def test_endless_error_and_endless_list_are_bounded(server, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_BODY", 100_000)
    server.enqueue(Script([Endless(b"x" * 10_000)], status=500), Script([Endless(b"x" * 10_000)]))
    with pytest.raises(ProviderError):
        read_all(Transport(server.url), LONG)
    with pytest.raises(AnswerTooLarge), Transport(server.url).open("GET", "/", limits=LONG) as exchange:
        exchange.json()


@pytest.mark.parametrize("steps", [[b"one\n", Cut()], [b"one\ntw", Cut()]])
def test_connection_cut_in_the_middle_is_a_broken_stream(server, steps):
    server.enqueue(Script(steps))
    with pytest.raises(BrokenStream):
        read_all(Transport(server.url), LONG)


def test_connection_closed_unanswered_is_unavailable(server):
    server.enqueue(Script(before=[Cut()]))
    with pytest.raises(ProviderUnavailable):
        read_all(Transport(server.url), LONG)


def test_server_that_speaks_no_http(server):
    server.enqueue(Script(before=[b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Cut()]))
    with pytest.raises(ProviderUnavailable):
        read_all(Transport(server.url), LONG)


def test_connections_are_used_again(server):
    client = Transport(server.url)
    server.enqueue(*[Script([b"one\n"])] * 3)
    for _ in range(3):
        assert read_all(client, LONG) == ["one"]
    assert {seen.connection for seen in server.requests} == {1}


def test_answer_left_early_but_complete_keeps_its_connection(server):
    client = Transport(server.url)
    server.enqueue(*[Script([b"one\n", b"two\n"])] * 2)
    for _ in range(2):
        with client.open("GET", "/", limits=LONG) as exchange:
            next(exchange.lines())
    assert {seen.connection for seen in server.requests} == {1}


def test_kept_connection_that_the_server_closed_is_no_trouble(server):
    client = Transport(server.url)
    server.enqueue(Script([b"one\n"]), Script(before=[Cut()]), Script([b"two\n"]))
    assert read_all(client, LONG) == ["one"]
    assert read_all(client, LONG) == ["two"]


def test_redirects_are_not_followed(server):
    server.enqueue(Script(status=307, headers={"Location": f"{server.url}/secret"}))
    with pytest.raises(BadProviderRequest, match="redirects"):
        read_all(Transport(server.url, headers={"Authorization": f"Bearer {SECRET}"}), LONG)
    assert len(server.requests) == 1


def test_proxies_and_netrc_of_the_machine_are_ignored(server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.enqueue(Script([b"one\n"]))
    assert read_all(Transport(server.url), LONG) == ["one"]
    assert "authorization" not in server.requests[0].headers


def test_cookies_are_not_kept(server):
    client = Transport(server.url)
    server.enqueue(Script([b"one\n"], headers={"Set-Cookie": "who=me"}), Script([b"two\n"]))
    read_all(client, LONG)
    read_all(client, LONG)
    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize("value", [f"Bearer {SECRET}", SECRET])
def test_headers_are_sent_and_never_in_an_error(server, value):
    client = Transport(server.url, headers={"Authorization": value})
    echo = b'{"error": {"message": "the key %s is wrong"}}' % value.encode()
    server.enqueue(Script([echo], status=401), Script(before=[Cut()]))
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            read_all(client, LONG)
        shown = f"{caught.value!r} {caught.value} {caught.value.details} {client!r}"
        assert SECRET not in shown
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert server.requests[0].headers["authorization"] == value


@pytest.mark.parametrize("value", [f"Bearer {SECRET}\nX: y", f" {SECRET}", f"Bearer {SECRET}\u20ac"])
def test_key_that_cannot_be_sent_is_refused_without_showing_it(value):
    with pytest.raises(BadProviderRequest) as caught:
        Transport("http://127.0.0.1", headers={"Authorization": value})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "http://", "http://[x", "http://h:port", ""])
def test_address_that_is_none_is_refused(url):
    with pytest.raises(BadProviderRequest):
        Transport(url)


def test_password_in_an_address_is_not_shown():
    with pytest.raises(ProviderUnavailable) as caught:
        read_all(Transport("http://me:secret@127.0.0.1:9"), LONG)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("1e9", 600),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header) == seconds


def test_retry_after_as_a_date():
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    assert retry_after(format_datetime(when, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after("Fri, 31 Dec 9999 23:59:59 -2359") in (600, None)


def test_limits_hold_in_a_forked_process(server):
    server.enqueue(Script([b"one\n"]), Script(before=[Pause()]))
    forking = [sys.executable, "-m", "tests.llm_routing.forking", server.url]
    assert subprocess.run(forking, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_many_calls_at_once_each_keep_their_own_limit(server):
    server.enqueue(*[Script(before=[Pause()])] * 20)
    client = Transport(server.url)
    took = []
    threads = [
        threading.Thread(
            target=lambda i=i: took.append((i, late(client, "first_token", first_token_s=1 + i / 50)))
        )
        for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 20
    assert all(0.95 + i / 50 < seconds < 2.5 + i / 50 for i, seconds in took)
    assert server.peak == 20


def test_tls_cancel_waiting_and_in_the_middle(tls_server, certificate):
    client = Transport(tls_server.url, ca_file=certificate)
    tls_server.enqueue(Script(before=[Pause()]), Script([b"one\n", Pause()]), Script([b"two\n"]))
    assert cancelled_after(0.1, client) < 1
    assert cancelled_after(0.1, client) < 1
    assert read_all(client, LONG) == ["two"]


def test_tls_handshake_that_never_ends_is_a_connect_timeout():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = Transport(f"https://127.0.0.1:{mute.getsockname()[1]}")
        assert 0.2 < late(client, "connect", connect_s=0.3) < 1.5


def test_tls_certificate_that_nobody_vouches_for(tls_server):
    with pytest.raises(ProviderUnavailable, match="certificate"):
        read_all(Transport(tls_server.url), LONG)


def test_head_and_body_go_out_in_one_piece():
    """A server that reads once has all of a short request, also over a connection that is used again."""
    pieces = []
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none\n"

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            for _ in range(2):
                pieces.append(connection.recv(65_536))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        client = Transport(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(2):
            with client.open("POST", "/", {"a": 1}, limits=LONG) as exchange:
                assert exchange.text() == "one\n"
        serving.join()
    assert [piece.partition(b"\r\n\r\n")[2] for piece in pieces] == [b'{"a": 1}'] * 2
