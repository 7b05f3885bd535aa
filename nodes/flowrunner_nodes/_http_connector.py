"""How aiohttp connects for us: with the certificates that the options name, and never to a forbidden address."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp

from flowrunner_nodes._http_addresses import check_address
from flowrunner_nodes._http_options import TlsOptions


def connector(tls: TlsOptions, connections: int) -> aiohttp.TCPConnector:
    """Return a connector. Made inside the running event loop; raises ``OSError`` for files that cannot be used."""
    return aiohttp.TCPConnector(ssl=_context(tls), socket_factory=_socket, limit=connections)


def _context(tls: TlsOptions) -> ssl.SSLContext | bool:
    """Return how certificates are checked; ``True`` for aiohttp's own way, which is made once a process."""
    if tls == TlsOptions():
        return True
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _socket(address: Any) -> socket.socket:
    """Return a socket for an address, at the last moment before it connects: no name can change in between."""
    family, kind, protocol, _, (host, *_) = address
    check_address(host)
    return socket.socket(family, kind, protocol)
