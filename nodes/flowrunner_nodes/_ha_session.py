"""One authenticated connection to Home Assistant: commands and their answers, subscriptions and their events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Self

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from flowrunner_nodes._ha_link import Link, LinkError, Lost, Refused
from flowrunner_nodes._ha_socket import Socket, open_socket

TIMEOUT = 30.0
"""Seconds for the answer to a command."""
_AUTH_TIMEOUT = 10.0

type Listener = Callable[[msgspec.Raw], None]


class _Frame(msgspec.Struct):
    """A message of Home Assistant, whatever its type; what is inside is read by whom it concerns."""

    type: str = ""
    id: int = 0
    success: bool = True
    result: msgspec.Raw = msgspec.Raw(b"null")
    event: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None
    message: str = ""
    ha_version: str = ""


_ONE = msgspec.json.Decoder(_Frame)
_MANY = msgspec.json.Decoder(list[_Frame])
_UNREADABLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


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
        self._greetings: asyncio.Queue[_Frame] = asyncio.Queue(4)
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
            session._server_time = _date_of(session._socket)
            await session._authenticate(link.token)
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
        self._fail(_why(socket))
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
            raise Lost(_why(socket).reason) from None

    # The beginning

    async def _authenticate(self, token: str) -> None:
        greeting = await self._greeting()
        if greeting.type == "auth_required":
            await self._send_token(token)
            greeting = await self._greeting()
        if greeting.type == "auth_invalid":
            raise LinkError(f"Home Assistant refuses the token: {greeting.message}", auth=True)
        if greeting.type != "auth_ok":
            raise LinkError(f"not what Home Assistant says first: {greeting.type!r}", operator=True)
        self.version = greeting.ha_version

    async def _send_token(self, token: str) -> None:
        try:
            await self._send({"type": "auth", "access_token": token})
        except Lost as error:
            raise LinkError(str(error)) from None

    async def _greeting(self) -> _Frame:
        """Return the next message before commands may be given."""
        socket = self._socket
        assert socket is not None  # noqa: S101  # set by `open`
        closed = asyncio.ensure_future(socket.wait_closed())
        arrived = asyncio.ensure_future(self._greetings.get())
        try:
            tasks = (arrived, closed)
            await asyncio.wait(tasks, timeout=_AUTH_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            if arrived.done():
                return arrived.result()
            if closed.done():
                raise _why(socket)
            raise LinkError(f"Home Assistant says nothing within {_AUTH_TIMEOUT:.0f} s")
        finally:
            arrived.cancel()
            closed.cancel()

    async def _say_features(self) -> None:
        """Let Home Assistant put several messages into one frame; older versions know no such thing."""
        try:
            await self.call("supported_features", features={"coalesce_messages": 1})
        except Refused:
            self._counts["no_coalescing"] += 1
        except Lost as error:
            raise LinkError(str(error)) from None

    # Receiving

    def _on_text(self, text: bytes) -> None:
        try:
            frames = _MANY.decode(text) if text.startswith(b"[") else [_ONE.decode(text)]
        except _UNREADABLE:
            frames = self._read_one_by_one(text)
        for frame in frames:
            self._on_frame(frame)

    def _read_one_by_one(self, text: bytes) -> list[_Frame]:
        """Return what can be read of a text that cannot be read as a whole."""
        frames = []
        try:
            parts = msgspec.json.decode(text, type=list[msgspec.Raw])
        except _UNREADABLE:
            parts = [msgspec.Raw(b"")]
        for part in parts:
            try:
                frames.append(_ONE.decode(part))
            except _UNREADABLE:
                self._counts["malformed"] += 1
        return frames

    def _on_frame(self, frame: _Frame) -> None:
        if frame.type == "event":
            self._on_event(frame)
        elif frame.type == "result":
            self._on_result(frame)
        elif frame.type.startswith("auth") and not self._greetings.full():
            self._greetings.put_nowait(frame)

    def _on_event(self, frame: _Frame) -> None:
        listener = self._listeners.get(frame.id)
        if listener is None:
            return
        try:
            listener(frame.event)
        except _UNREADABLE:
            self._counts["malformed"] += 1

    def _on_result(self, frame: _Frame) -> None:
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


def _why(socket: Socket) -> LinkError:
    code, reason = socket.close_code, socket.close_reason
    if socket.protocol.close_sent is not None and socket.protocol.close_sent.code == 1009:
        return LinkError("a message of Home Assistant is longer than `max_size`; raise it", operator=True)
    words = f" ({code}{' ' + reason if reason else ''})" if code not in (None, 1000, 1006) else ""
    return LinkError(f"the connection was closed{words}")


def _date_of(socket: Socket) -> int | None:
    dates = [] if socket.response is None else socket.response.headers.get_all("Date")
    try:
        return int(parsedate_to_datetime(dates[0]).timestamp()) * 1_000_000 if dates else None
    except ValueError:
        return None
