"""Where an org's own providers may be: the public internet, and networks that the operator opened.

Whoever may name a server could otherwise make this one ask its own neighbours.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, urlsplit

from evalsuite.errors import EvalsuiteError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Addresses at which clouds hand out credentials to whoever asks from inside. No setting opens them.
METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # AWS, Azure, Google and others
        "fe80::/10",
        "fd00:ec2::254/128",  # AWS
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "168.63.129.16/32",  # Azure
    )
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not public, though `is_global` says so: site-local, a network's own NAT64, IPv4 in an old disguise.
PRIVATE_TOO = tuple(ipaddress.ip_network(network) for network in ("fec0::/10", "64:ff9b:1::/48", "::/96"))


class AddressNotAllowed(EvalsuiteError):
    """The address is malformed, or where no org may send requests. The message says which."""

    code, status = "ADDRESS_NOT_ALLOWED", 400


def require_allowed(url: str, allowed_networks: Iterable[str]) -> None:
    """Raises AddressNotAllowed unless the URL is http or https and all that its host means may be asked.

    `allowed_networks`: private ones that the operator opened, such as `10.1.0.0/16`. Looks the name up.
    """
    host, port = _host_of(url)
    opened = [ipaddress.ip_network(network) for network in allowed_networks]
    for address in _addresses_of(host, port):
        _require_address(address, opened)


def guard(allowed_networks: Iterable[str]) -> Callable[[str], None]:
    """The same rule for one IP address at the moment of connecting: a name may lead elsewhere by then."""
    opened = [ipaddress.ip_network(network) for network in allowed_networks]

    def require(address: str) -> None:
        _require_address(ipaddress.ip_address(address.split("%", maxsplit=1)[0]), opened)

    return require


def _host_of(url: str) -> tuple[str, int]:
    try:
        parts: SplitResult = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressNotAllowed("This is not an address.") from error
    if parts.scheme not in ("http", "https"):
        raise AddressNotAllowed("The address must begin with http:// or https://.")
    if not host or any(character.isspace() or character == "\\" for character in url):
        raise AddressNotAllowed("This is not an address.")
    if "@" in parts.netloc:
        raise AddressNotAllowed("The address may hold no user name and no password: use the key.")
    if parts.query or parts.fragment:
        raise AddressNotAllowed("The address may have no query and no fragment.")
    return host, port or (443 if parts.scheme == "https" else 80)


def _addresses_of(host: str, port: int) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressNotAllowed(f"The name {host} cannot be looked up.") from error
    # A scope, as in fe80::1%eth0, is no part of the address.
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def _require_address(address: IPAddress, opened: Iterable[IPNetwork]) -> None:
    address = _inner(address)
    if any(address in network for network in METADATA):
        raise AddressNotAllowed("Addresses of a cloud's metadata may not be used.")
    if address.is_multicast or address.is_unspecified:
        raise AddressNotAllowed("This address is not that of one server.")
    public = address.is_global and not any(address in network for network in PRIVATE_TOO)
    if not public and not any(address in network for network in opened):
        raise AddressNotAllowed("The address is in a private network that the operator has not opened.")


def _inner(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address carries, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
