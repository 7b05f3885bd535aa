"""Opening a TCP or TLS connection so that it can be cancelled at any moment and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import ssl

from flowrunner_nodes._http_addresses import check_address
from flowrunner_nodes._mqtt_settings import LinkError, TlsFiles


async def open_socket(host: str, port: int, tls: TlsFiles | None) -> socket.socket:
    """Return a connected, non-blocking socket; a TLS socket with ``tls``. Raises :class:`LinkError`."""
    try:
        sock = await _connect(host, port)
    except OSError as error:
        raise LinkError(f"cannot reach {host}:{port}: {error.strerror or error}") from None
    if tls is None:
        return sock
    try:
        context = await asyncio.to_thread(tls.context)
        sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        await _handshake(sock)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _tls_error(error, host, port) from None
        raise
    return sock


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            check_address(str(address[0]))
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _handshake(sock: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    fileno = sock.fileno()
    while True:
        ready = asyncio.Event()
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            loop.add_reader(fileno, ready.set)
        except ssl.SSLWantWriteError:
            loop.add_writer(fileno, ready.set)
        else:
            return
        try:
            await ready.wait()
        finally:
            loop.remove_reader(fileno)
            loop.remove_writer(fileno)


def _tls_error(error: OSError, host: str, port: int) -> LinkError:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return LinkError(f"the certificate of {host}:{port} is not trusted: {reason}", operator=True)
    if isinstance(error, ssl.SSLError):
        return LinkError(f"no TLS with {host}:{port}: {error.reason or error}", operator=True)
    return LinkError(f"no TLS with {host}:{port}: {error.strerror or error}")
