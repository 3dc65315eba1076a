"""Where an org's own provider may be."""

from __future__ import annotations

import socket

import pytest

from llm_routing.addresses import AddressNotAllowed, require_allowed

NAMES = {
    "models.example": ["203.0.114.7"],
    "inside.example": ["10.1.2.3"],
    "both.example": ["8.8.8.8", "127.0.0.1"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Names that this test invents; numbers are what they say."""
    real = socket.getaddrinfo

    def look_up(host, port, **options):
        if host in NAMES:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in NAMES[host]]
        if host.endswith(".example"):
            raise socket.gaierror("no such name")
        return (
            real(host, port, flags=socket.AI_NUMERICHOST, **options)
            if host != "localhost"
            else real(host, port)
        )

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "url",
    ["https://models.example", "http://models.example:8080/v1", "https://8.8.8.8", "http://[2606:4700::1]/"],
)
def test_public_servers_are_allowed(url):
    require_allowed(url, [])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "models.example",
        "ftp://models.example",
        "file:///etc/passwd",
        "gopher://models.example",
        "http://",
        "http://models.example:99999",
        "http://[::1",
        "http://models.example\\@127.0.0.1",
        "http://mod els.example",
        "https://user:secret@models.example",
        "https://models.example/v1?a=b",
        "https://models.example/#x",
        "https://nowhere.example",
    ],
)
def test_what_is_no_plain_address_of_a_server_is_refused(url):
    with pytest.raises(AddressNotAllowed):
        require_allowed(url, ["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1.2.3",
        "[::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fd12::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "inside.example",
        "both.example",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
def test_private_addresses_are_refused(host):
    with pytest.raises(AddressNotAllowed):
        require_allowed(f"http://{host}:11434", [])


@pytest.mark.parametrize("host", ["[fec0::1]", "[64:ff9b:1::7f00:1]", "[::127.0.0.1]"])
def test_what_only_looks_public_is_refused(host):
    with pytest.raises(AddressNotAllowed):
        require_allowed(f"http://{host}:11434", [])


@pytest.mark.parametrize("host", ["10.1.2.3", "inside.example", "[::ffff:10.1.2.3]"])
def test_a_network_that_the_operator_opened_is_allowed(host):
    require_allowed(f"http://{host}:11434", ["10.1.0.0/16"])
    with pytest.raises(AddressNotAllowed):
        require_allowed(f"http://{host}:11434", ["10.2.0.0/16", "fd00::/8"])


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
    ],
)
def test_metadata_is_refused_whatever_the_operator_opened(host):
    with pytest.raises(AddressNotAllowed):
        require_allowed(f"http://{host}/latest", ["0.0.0.0/0", "::/0"])
