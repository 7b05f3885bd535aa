"""Which addresses a flow must not reach: those at which clouds hand out their secrets, and the link itself."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flowrunner import option_error

_FORBIDDEN = [
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "100.100.100.200/32",  # of Alibaba
        "168.63.129.16/32",  # of Azure
        "192.0.0.192/32",  # of Oracle
        "224.0.0.0/4",
        "255.255.255.255/32",
        "fe80::/10",
        "fd00:ec2::/32",  # of Amazon
        "fd20:ce::/32",  # of Google
        "ff00::/8",
    )
]
_NAT64 = ip_network("64:ff9b::/96")


def is_forbidden(address: str) -> bool:
    """Whether an address must not be reached, also when it is wrapped into another one. Names are not."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(each in network for each in _forms(found) for network in _FORBIDDEN)


def check_named(host: str) -> None:
    """Refuse the host of an option that is an address which must not be reached."""
    if is_forbidden(host):
        help = "link-local addresses and those of cloud metadata are refused"
        raise option_error("FR025", "`{name}` has an address that flows must not reach", help=help)


def check_address(address: str) -> None:
    """Raise ``PermissionError`` for an address that must not be reached."""
    if is_forbidden(address):
        raise PermissionError(errno.EACCES, f"{address} is an address that flows must not reach")


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return an address and what it stands for: mapped, compatible, NAT64, 6to4 or Teredo."""
    if isinstance(address, IPv4Address):
        return [address]
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or int(address) >> 32 == 0:
        inner.append(low)
    return [address, *(each for each in inner if each is not None)]
