"""Which addresses an org may name: the public internet, and what the operator opened."""

from __future__ import annotations

import socket

import pytest

from llm_routing import addresses
from llm_routing.addresses import AddressNotAllowed, require_allowed

PUBLIC = "93.184.216.34"
LOOPBACK = ["127.0.0.0/8", "::1/128"]


@pytest.fixture
def names(monkeypatch):
    """A name service of our own; numbers are looked up as always."""
    known = {"models.example.com": [PUBLIC], "gone.example.com": []}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **options):
        if host not in known:
            return real(host, port, *args, **{**options, "flags": socket.AI_NUMERICHOST})
        if not known[host]:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in known[host]]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize(
    "url",
    [
        "https://models.example.com",
        "http://models.example.com:11434/",
        "https://models.example.com/v1",
        f"http://{PUBLIC}:8000/v1",
        "http://[2606:2800:220:1:248:1893:25c8:1946]:8000",
    ],
)
def test_the_public_internet_is_open_to_all(names, url):
    require_allowed(url, [])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "models.example.com",
        "//models.example.com",
        "ftp://models.example.com",
        "file:///etc/passwd",
        "gopher://models.example.com",
        "javascript:alert(1)",
        "http://",
        "http:///v1",
        "http://:8000",
        "http://models.example.com:port",
        "http://models.example.com:99999",
        "http://models.example.com\\@127.0.0.1",
        "http://models.example.com /",
        "http://models.example.com\t",
        "http://[::1",
        "http://gone.example.com",
        "http://" + "a" * 300 + ".example.com",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(names, url):
    with pytest.raises(AddressNotAllowed):
        require_allowed(url, LOOPBACK)


@pytest.mark.parametrize("user", ["user@", "user:secret@", ":secret@", "@"])
def test_credentials_do_not_belong_in_an_address(names, user):
    with pytest.raises(AddressNotAllowed, match="key"):
        require_allowed(f"https://{user}models.example.com", [])


@pytest.mark.parametrize("more", ["?key=secret", "#part"])
def test_nor_does_a_query_or_a_fragment(names, more):
    with pytest.raises(AddressNotAllowed):
        require_allowed(f"https://models.example.com/{more}", [])


PRIVATE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "0.0.0.0",
    "[::]",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "224.0.0.1",
    "[ff02::1]",
    "[fc00::1]",
    "[fe80::1]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_networks_are_closed_however_the_number_is_written(names, host):
    with pytest.raises(AddressNotAllowed):
        require_allowed(f"http://{host}:8000", [])


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.1", "127.0.0.0/8"),
        ("[::1]", "::1/128"),
        ("[::ffff:10.1.2.3]", "10.1.0.0/16"),
        ("10.1.2.3", "10.1.0.0/16"),
        ("192.168.1.1", "192.168.1.1/32"),
        ("[fc00::1]", "fc00::/7"),
    ],
)
def test_the_operator_opens_a_private_network(names, host, network):
    require_allowed(f"http://{host}:8000", [network])


def test_an_opened_network_opens_no_other(names):
    with pytest.raises(AddressNotAllowed, match="not opened"):
        require_allowed("http://10.2.0.1", ["10.1.0.0/16"])


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "2852039166", "100.100.100.200"],
)
def test_metadata_of_a_cloud_is_closed_whatever_the_operator_opened(names, host):
    with pytest.raises(AddressNotAllowed, match="metadata"):
        require_allowed(f"http://{host}/latest", ["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("target", ["169.254.169.254", "127.0.0.1", "10.0.0.1"])
def test_a_name_is_what_it_leads_to(names, target):
    names["metadata.google.internal"] = [target]
    with pytest.raises(AddressNotAllowed):
        require_allowed("http://metadata.google.internal/", [])


def test_a_name_with_one_closed_address_is_closed(names):
    names["two.example.com"] = [PUBLIC, "127.0.0.1"]
    with pytest.raises(AddressNotAllowed):
        require_allowed("http://two.example.com", [])
    require_allowed("http://two.example.com", LOOPBACK)
