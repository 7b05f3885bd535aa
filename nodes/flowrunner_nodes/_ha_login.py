"""The first words on a connection to Home Assistant, before commands may be given."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import msgspec
from websockets.exceptions import ConnectionClosed

from flowrunner_nodes._ha_frames import Frame
from flowrunner_nodes._ha_link import LinkError
from flowrunner_nodes._ha_socket import Socket

_TIMEOUT = 10.0


async def log_in(socket: Socket, greetings: asyncio.Queue[Frame], token: str) -> str:
    """Authenticate and return Home Assistant's version. Raises :class:`LinkError`."""
    greeting = await _next(socket, greetings)
    if greeting.type == "auth_required":
        await _send_token(socket, token)
        greeting = await _next(socket, greetings)
    if greeting.type == "auth_invalid":
        raise LinkError(f"Home Assistant refuses the token: {greeting.message}", auth=True)
    if greeting.type != "auth_ok":
        raise LinkError(f"not what Home Assistant says first: {greeting.type!r}", operator=True)
    return greeting.ha_version


async def _send_token(socket: Socket, token: str) -> None:
    try:
        await socket.send(msgspec.json.encode({"type": "auth", "access_token": token}).decode())
    except ConnectionClosed:
        raise why_closed(socket) from None


async def _next(socket: Socket, greetings: asyncio.Queue[Frame]) -> Frame:
    closed = asyncio.ensure_future(socket.wait_closed())
    arrived = asyncio.ensure_future(greetings.get())
    try:
        await asyncio.wait((arrived, closed), timeout=_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if arrived.done():
            return arrived.result()
        if closed.done():
            raise why_closed(socket)
        raise LinkError(f"Home Assistant says nothing within {_TIMEOUT:.0f} s")
    finally:
        arrived.cancel()
        closed.cancel()


def why_closed(socket: Socket) -> LinkError:
    """Return the reason why a connection is no more."""
    code, reason = socket.close_code, socket.close_reason
    if socket.protocol.close_sent is not None and socket.protocol.close_sent.code == 1009:
        return LinkError("a message of Home Assistant is longer than `max_size`; raise it", operator=True)
    words = f" ({code}{' ' + reason if reason else ''})" if code not in (None, 1000, 1006) else ""
    return LinkError(f"the connection was closed{words}")


def date_of(socket: Socket) -> int | None:
    """Return the time that the answer to the handshake tells, microseconds; ``None`` if it tells none."""
    dates = [] if socket.response is None else socket.response.headers.get_all("Date")
    try:
        return int(parsedate_to_datetime(dates[0]).timestamp()) * 1_000_000 if dates else None
    except ValueError:
        return None
