"""An HTTP server that misbehaves on command and keeps every request as it came."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.servers.fake_influx import Hang, Reply, Reset

SILENT = Reply(200, "")


@dataclass(frozen=True)
class Drop:
    """Answer, and then end the connection without having said so."""

    reply: Reply = SILENT


@dataclass(frozen=True)
class Raw:
    """Send these bytes for an answer, and end the connection."""

    data: bytes


type Fault = Reply | Hang | Reset | Drop | Raw


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def nothing_wrong(request: Received) -> Fault | None:
    """Accept every request."""
    return None


class FakeHttp:
    """Serves on a free port of the loopback while it is entered as an asynchronous context.

    ``script`` is worked off one fault a request (``None``: accept), then ``judge`` decides about each.
    ``accepted`` are the requests that had an effect, also those whose answer was then lost.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.script: deque[Fault | None] = deque()
        self.judge: Callable[[Received], Fault | None] = nothing_wrong
        self.requests: list[Received] = []
        self.accepted: list[Received] = []
        self.connections = 0
        self.at_once = 0
        """The most requests that were there at the same time."""
        self.seconds = 0.0
        """How long each request takes."""
        self._present = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader)
        self.requests.append(request)
        self._present += 1
        self.at_once = max(self.at_once, self._present)
        await asyncio.sleep(self.seconds)
        self._present -= 1
        fault = self.script.popleft() if self.script else self.judge(request)
        match fault:
            case Hang():
                await reader.read()
                return False
            case Reset(after_commit=after_commit):
                if after_commit:
                    self.accepted.append(request)
                writer.transport.abort()
                return False
            case Raw(data=data):
                writer.write(data)
                await writer.drain()
                return False
            case _:
                reply = fault.reply if isinstance(fault, Drop) else fault or SILENT
                if 200 <= reply.status < 300:
                    self.accepted.append(request)
                await _send(writer, reply)
                return not isinstance(fault, Drop)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (row.partition(":") for row in head[1:] if row)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    body = reply.body.encode()
    headers = {"Content-Length": str(len(body)), **reply.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode())
    pieces = [bytes([byte]) for byte in body] if reply.seconds_a_byte else [body]
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(reply.seconds_a_byte)
