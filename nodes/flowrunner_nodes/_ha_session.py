"""One authenticated connection to Home Assistant: commands and their answers, subscriptions and their events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from flowrunner_nodes._ha_frames import UNREADABLE, Frame, read_frames
from flowrunner_nodes._ha_link import Link, LinkError, Lost, Refused
from flowrunner_nodes._ha_login import date_of, log_in, why_closed
from flowrunner_nodes._ha_socket import Socket, open_socket

TIMEOUT = 30.0
"""Seconds for the answer to a command."""

type Listener = Callable[[msgspec.Raw], None]


class Session:
    """A connection that Home Assistant has accepted; when it is lost a new one is made."""

    def __init__(self, counts: Counter[str]) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[LinkError] = loop.create_future()
        """Done when the connection is no more."""
        self.version = ""
        """Of Home Assistant, such as ``2025.4.4``."""
        self.ready = asyncio.Event()
        """Set once Home Assistant has started up."""
        self._counts = counts
        self._loop = loop
        self._socket: Socket | None = None
        self._greetings: asyncio.Queue[Frame] = asyncio.Queue(4)
        self._number = 0
        self._calls: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._listeners: dict[int, Listener] = {}
        self._opened_at = 0.0
        self._server_time: int | None = None

    @classmethod
    async def open(cls, link: Link, counts: Counter[str]) -> Self:
        """Connect and authenticate. Raises :class:`LinkError`."""
        session = cls(counts)
        try:
            session._socket = await open_socket(link, session._on_text)
            session._opened_at = session._loop.time()
            session._server_time = date_of(session._socket)
            session.version = await log_in(session._socket, session._greetings, link.token)
            await session._say_features()
        except BaseException:
            await session.close()
            raise
        return session

    @property
    def is_up(self) -> bool:
        """Whether a command that is given now would be sent."""
        socket = self._socket
        return not self.lost.done() and socket is not None and socket.state is State.OPEN

    def server_time(self) -> int | None:
        """Return Home Assistant's clock to a second or two, in microseconds; ``None`` if it did not tell."""
        if self._server_time is None:
            return None
        return self._server_time + int((self._loop.time() - self._opened_at) * 1e6)

    async def wait_lost(self) -> LinkError:
        """Return why the connection has gone, once it has."""
        socket = self._socket
        assert socket is not None  # noqa: S101  # set before anybody gets the session
        await socket.wait_closed()
        self._fail(why_closed(socket))
        return self.lost.result()

    async def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._fail(LinkError("the connection is closed"))
            await self._socket.close()

    async def call(self, type: str, *, timeout: float | None = None, **fields: Any) -> Any:
        """Give a command and return its result.

        Raises :class:`Refused` for an error, :class:`Lost` when no answer came.
        """
        return msgspec.json.decode(await self.call_raw(type, timeout=timeout, **fields))

    async def call_raw(self, type: str, *, timeout: float | None = None, **fields: Any) -> msgspec.Raw:
        """Give a command and return its result as JSON text."""
        return await self._ask(self._next(), {"type": type, **fields}, timeout or TIMEOUT)

    async def subscribe(self, listener: Listener, type: str, **fields: Any) -> int:
        """Subscribe, and call ``listener`` with each event from now on; return the subscription's number.

        The listener is called on the event loop, in order, and must not wait.
        """
        number = self._next()
        self._listeners[number] = listener
        try:
            await self._ask(number, {"type": type, **fields}, TIMEOUT)
        except BaseException:
            del self._listeners[number]
            raise
        return number

    async def unsubscribe(self, number: int) -> None:
        """End a subscription."""
        if self._listeners.pop(number, None) is not None:
            await self.call("unsubscribe_events", subscription=number)

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, number: int, command: dict[str, Any], timeout: float) -> msgspec.Raw:
        if self.lost.done():
            raise Lost(self.lost.result().reason)
        answer: asyncio.Future[msgspec.Raw] = self._loop.create_future()
        self._calls[number] = answer
        try:
            async with asyncio.timeout(timeout):
                await self._send({"id": number, **command})
                return await answer
        except TimeoutError:
            raise Lost(f"no answer to {command['type']} within {timeout:.0f} s") from None
        finally:
            del self._calls[number]
            answer.cancel()

    async def _send(self, message: dict[str, Any]) -> None:
        socket = self._socket
        assert socket is not None  # noqa: S101  # set before anybody gets the session
        try:
            await socket.send(msgspec.json.encode(message).decode())
        except ConnectionClosed:
            raise Lost(why_closed(socket).reason) from None

    async def _say_features(self) -> None:
        """Let Home Assistant put several messages into one frame; older versions know no such thing."""
        try:
            await self.call("supported_features", features={"coalesce_messages": 1})
        except Refused:
            self._counts["no_coalescing"] += 1
        except Lost as error:
            raise LinkError(str(error)) from None

    def _on_text(self, text: bytes) -> None:
        for frame in read_frames(text, self._counts):
            self._on_frame(frame)

    def _on_frame(self, frame: Frame) -> None:
        if frame.type == "event":
            self._on_event(frame)
        elif frame.type == "result":
            self._on_result(frame)
        elif frame.type.startswith("auth") and not self._greetings.full():
            self._greetings.put_nowait(frame)

    def _on_event(self, frame: Frame) -> None:
        listener = self._listeners.get(frame.id)
        if listener is None:
            return
        try:
            listener(frame.event)
        except UNREADABLE:
            self._counts["malformed"] += 1

    def _on_result(self, frame: Frame) -> None:
        answer = self._calls.get(frame.id)
        if answer is None:
            # An event that Home Assistant could not write as JSON comes as the failure of its subscription.
            self._counts["unserialisable" if frame.id in self._listeners else "late_answers"] += 1
        elif answer.done():
            return
        elif frame.success:
            answer.set_result(frame.result)
        else:
            error = frame.error if isinstance(frame.error, dict) else {}
            code, words = str(error.get("code", "unknown")), str(error.get("message", "no reason given"))
            _fail(answer, Refused(code, words))

    def _fail(self, error: LinkError) -> None:
        if self.lost.done():
            return
        self.lost.set_result(error)
        for answer in self._calls.values():
            if not answer.done():
                _fail(answer, Lost(error.reason))


def _fail(answer: asyncio.Future[msgspec.Raw], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # whoever waits gets it; nobody may be waiting any more
