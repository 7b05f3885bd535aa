"""The WebSocket to Home Assistant: websockets for the protocol, a receive path of our own for whole messages.

Their own receive path keeps messages in a queue and stops reading when it is full; the pong that says that we are
alive then stands behind the data, and Home Assistant ends the connection. Here each message is handed on in the
moment it is complete, at a quarter of the time.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import DATA_OPCODES, Frame

from flowrunner_nodes._ha_link import Link, LinkError
from flowrunner_nodes._http_addresses import check_address

OPEN_TIMEOUT = 10.0
"""Seconds for the way to an open socket."""
PING_INTERVAL = 20.0
"""Seconds between two pings, and for each answer to one."""
_SILENT = logging.Logger("home_assistant", logging.CRITICAL + 1)  # noqa: LOG001  # theirs would show the token
_WHOLE_TEXT = 0x81
_SWITCHING = b"HTTP/1.1 101"
_END_OF_HEAD = b"\r\n\r\n"


class Socket(ClientConnection):
    """Calls ``on_text`` with each message, from the event loop, as soon as its last byte is there."""

    def __init__(
        self, protocol: ClientProtocol, on_text: Callable[[bytes], None], max_size: int, **options: Any
    ) -> None:
        super().__init__(protocol, **options)
        self._on_text = on_text
        self._max_size = max_size
        self._buffer = bytearray()
        self._needed = len(_SWITCHING)
        self._take = self._take_head
        self._parts: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Take in what the transport has read."""
        self._buffer += data
        if len(self._buffer) >= self._needed:
            self._take()

    def _take_head(self) -> None:
        """Give the answer to the handshake to websockets, and it alone: from there on we cut frames."""
        end = self._buffer.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        if not self._buffer.startswith(_SWITCHING):
            self._take = self._pass_on
        elif end >= len(_END_OF_HEAD):
            head = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._take = self._take_frames
            super().data_received(head)
        else:
            return
        self._take()

    def _pass_on(self) -> None:
        """Leave everything to websockets: an answer that is no handshake, or a message that is too long."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._needed = 1
        super().data_received(data)

    def _take_frames(self) -> None:
        """Hand on the whole text messages; leave whole frames of any other kind to websockets."""
        self._needed = 2
        with memoryview(self._buffer) as view:
            done = self._cut(view)
        del self._buffer[:done]
        if self._take == self._pass_on and self._buffer:
            self._pass_on()

    def _cut(self, buffer: memoryview) -> int:
        """Hand on what is whole; return how many bytes that took."""
        start, size = 0, len(buffer)
        while size - start >= 2:
            first, length, skip = buffer[start], buffer[start + 1], 2
            if length >= 126:
                skip = 4 if length == 126 else 10
                if size - start < skip:
                    self._needed = skip
                    break
                length = int.from_bytes(buffer[start + 2 : start + skip])
            end = start + skip + length
            if length > self._max_size or buffer[start + 1] & 0x80:
                self._take = self._pass_on  # it says what is wrong and ends the connection
                break
            if end > size:
                self._needed = end - start
                break
            if first == _WHOLE_TEXT:
                self._on_text(bytes(buffer[start + skip : end]))
            else:
                super().data_received(bytes(buffer[start:end]))
            start = end
        return start

    def process_event(self, event: Any) -> None:
        """Put together the messages that came in fragments or compressed."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        self._parts.append(bytes(event.data))
        if event.fin:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._on_text(whole)


class _Connect(connect):
    """Follows no redirect: the token would go to wherever it leads. Says nothing to a forbidden address."""

    async def create_connection(self) -> ClientConnection:
        connection = await super().create_connection()
        try:
            check_address(connection.remote_address[0])
        except PermissionError:
            connection.transport.abort()
            raise
        return connection

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(link: Link, on_text: Callable[[bytes], None]) -> Socket:
    """Connect. Raises :class:`LinkError`."""
    options: dict[str, Any] = {}
    try:
        if link.url.startswith("wss:"):
            options["ssl"] = _tls(link)
        socket = await _Connect(
            link.url,
            create_connection=partial(Socket, on_text=on_text, max_size=link.max_size),  # type: ignore[arg-type]  # they only call it
            compression="deflate" if link.compression else None,
            max_size=link.max_size,
            proxy=link.proxy,
            open_timeout=OPEN_TIMEOUT,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_INTERVAL,
            close_timeout=1,
            user_agent_header="flowrunner",
            logger=_SILENT,
            **options,
        )
    except (OSError, InvalidHandshake, EOFError) as error:
        raise _explain(link, error) from None
    assert isinstance(socket, Socket)  # noqa: S101  # what create_connection returned
    return socket


def _tls(link: Link) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=link.ca)
    except OSError as error:
        raise LinkError(f"the file of `tls.ca` cannot be used: {error}", operator=True) from None
    if link.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _explain(link: Link, error: Exception) -> LinkError:
    place = urlsplit(link.url).netloc
    if isinstance(error, InvalidStatus):
        return _explain_status(link, error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkError(f"the certificate of {place} is not trusted: {error.verify_message}", operator=True)
    if isinstance(error, TimeoutError):
        return LinkError(f"{place} does not answer within {OPEN_TIMEOUT:.0f} s")
    return LinkError(f"cannot connect to {place}: {str(error) or type(error).__name__}")


def _explain_status(link: Link, error: InvalidStatus) -> LinkError:
    status, place = error.response.status_code, urlsplit(link.url).netloc
    where = error.response.headers.get("Location")
    if 300 <= status < 400 and where:
        target = urlsplit(urljoin(link.url, where))
        return LinkError(
            f"{place} redirects to {target.scheme}://{target.netloc}{target.path}: "
            "that is not followed, the token would go there; write the right address as `url`",
            operator=True,
        )
    if status == 403:
        return LinkError(
            f"{place} refuses this machine (403): its address may be in Home Assistant's ip_bans.yaml",
            operator=True,
        )
    if status in (429, 500, 502, 503, 504):
        return LinkError(f"{place} answers with status {status}")
    return LinkError(
        f"{place} answers with status {status}: is `url` the address of Home Assistant?", operator=True
    )
