"""A connection is used again only where nothing of one answer can ever be taken for the next one."""

from __future__ import annotations

import pytest

from llm_routing.errors import BadProviderRequest, ProviderError, ProviderTimeout
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits
from tests.fakes.server import Script
from tests.llm_routing.calling import LONG, read_all

MINE = Script([b"mine\n"])
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def whole(body: bytes, *headers: bytes, status: bytes = b"200") -> bytes:
    """An answer that tells its length, as it stands on the wire."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 %s Any" % status, length, *headers, b"", body])


def connections(server) -> list[int]:
    return [seen.connection for seen in server.requests]


@pytest.mark.parametrize("status", [b"100", b"102", b"103", b"199"])
def test_an_answer_on_the_way_to_the_answer_is_read_over(server, status):
    """Taken for a whole answer, it would leave the real one to the next call on the connection."""
    interim = b"HTTP/1.1 %s Wait\r\nX: y\r\n\r\n" % status
    server.enqueue(*[Script(raw=interim * 3 + whole(b"mine\n"))] * 2)
    client = Transport(server.url)
    for _ in range(2):
        assert read_all(client, LONG) == ["mine"]


def test_hints_without_an_answer_are_late_and_end_their_connection(server):
    server.enqueue(Script(raw=HINTS * 5), MINE)
    client = Transport(server.url)
    with pytest.raises(ProviderTimeout):
        read_all(client, Limits(first_token_s=0.3))
    assert read_all(client, LONG) == ["mine"]
    assert connections(server) == [1, 2]


@pytest.mark.parametrize(
    "behind",
    [whole(b"another's\n"), b"HTTP/1.1 200", HINTS, b"\r\n", whole(b"another's\n" * 20_000)],
    ids=["an answer", "a part of one", "hints", "a blank line", "a long answer"],
)
def test_what_lies_behind_an_answer_ends_its_connection(server, behind):
    server.enqueue(Script(raw=whole(b"one\n") + behind), MINE)
    client = Transport(server.url)
    assert read_all(client, LONG) == ["one"]
    assert read_all(client, LONG) == ["mine"]
    assert connections(server) == [1, 2]


def test_what_lies_behind_the_last_chunk_ends_its_connection(server):
    chunked = b"HTTP/1.1 200 Any\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n0\r\n\r\n"
    server.enqueue(Script(raw=chunked + b"0\r\n\r\n"), MINE)
    client = Transport(server.url)
    assert read_all(client, LONG) == ["one"]
    assert read_all(client, LONG) == ["mine"]
    assert connections(server) == [1, 2]


def test_what_lies_behind_an_answer_is_seen_under_tls(tls_server, certificate):
    tls_server.enqueue(Script(raw=whole(b"one\n") + whole(b"another's\n")), MINE, MINE)
    client = Transport(tls_server.url, ca_file=certificate)
    assert read_all(client, LONG) == ["one"]
    assert [read_all(client, LONG) for _ in range(2)] == [["mine"]] * 2
    assert connections(tls_server) == [1, 2, 2]


@pytest.mark.parametrize("status", [b"400", b"404", b"429", b"500", b"503", b"999"])
def test_a_refusal_ends_its_connection(server, status):
    """A server that refuses may not have read the request: what is left of it is its next request."""
    server.enqueue(Script(raw=whole(b"no", status=status)), MINE)
    client = Transport(server.url)
    with pytest.raises(ProviderError):
        read_all(client, LONG)
    assert read_all(client, LONG) == ["mine"]
    assert connections(server) == [1, 2]


def test_a_change_of_protocol_that_nobody_asked_for_is_refused(server):
    server.enqueue(Script(raw=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), MINE)
    client = Transport(server.url)
    with pytest.raises(BadProviderRequest, match=r"another protocol \(101\)"):
        read_all(client, LONG)
    assert read_all(client, LONG) == ["mine"]
    assert connections(server) == [1, 2]


@pytest.mark.parametrize(
    "head", [whole(b"one\n", b"Content-Length: 4"), whole(b"one\n", b"Transfer-Encoding: identity")]
)
def test_an_answer_whose_end_is_told_twice_ends_its_connection(server, head):
    server.enqueue(Script(raw=head), MINE)
    client = Transport(server.url)
    assert read_all(client, LONG) == ["one"]
    assert read_all(client, LONG) == ["mine"]
    assert connections(server) == [1, 2]
