"""An InfluxDB that misbehaves on command: for what a real one cannot be made to do.

It understands the write endpoints of versions 1, 2 and 3, checks token and bucket, keeps what it stores and records
every request. It is no parser: which lines are bad is up to the test.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

TOKEN = "canary-5f1d-never-show-this"
_WRITE_PATHS = {"/write": "db", "/api/v2/write": "bucket", "/api/v3/write_lp": "db"}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer in place of the proper one; nothing is stored."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds_a_byte: float = 0.0


@dataclass(frozen=True)
class Hang:
    """Read the request and never answer."""


@dataclass(frozen=True)
class Reset:
    """Cut the connection in place of an answer, before or after the lines are stored."""

    after_commit: bool = False


type Fault = Reply | Hang | Reset


@dataclass(frozen=True)
class Request:
    """One request as it arrived; ``lines`` are unpacked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    lines: tuple[str, ...]


def nothing_wrong(line: str) -> str | None:
    """Accept every line."""
    return None


def points(lines: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return the points that lines leave: (series, time) → fields, as the last line of each left them."""
    parts = [(*re.split(r"(?<!\\) ", line, maxsplit=1), line.rpartition(" ")[2]) for line in lines]
    return {(series, time): fields.removesuffix(f" {time}") for series, fields, time in parts}


class FakeInflux:
    """Serves on a free port of the loopback while it is entered as an asynchronous context.

    ``script`` is worked off one fault a request (``None``: behave), then ``always`` holds, if it is set; without
    either the server behaves: ``malformed`` lines make it reject the whole request (400), ``refused`` lines are left out and the
    others stored (422 in version 2, 400 with a list in version 3), a body above ``max_body`` bytes gets a 413.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        buckets: Sequence[str] = ("home",),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.token = token
        self._port = port
        self._tls = tls
        self.buckets = set(buckets)
        self.script: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.delay = 0.0
        """Seconds before each answer."""
        self.malformed: Callable[[str], str | None] = nothing_wrong
        self.refused: Callable[[str], str | None] = nothing_wrong
        self.names_line = False
        """Whether a 400 tells the number of the first malformed line."""
        self.max_body: int | None = None
        self.requests: list[Request] = []
        self.stored: list[str] = []
        """Every line that was ever stored, in order, repeats included."""
        self.connections = 0
        self.arrived = asyncio.Event()
        """Set by the first request."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"http{'s' if self._tls else ''}://{host}:{port}"

    @property
    def writes(self) -> list[Request]:
        """The requests to a write endpoint."""
        return [request for request in self.requests if request.path in _WRITE_PATHS]

    @property
    def points(self) -> dict[tuple[str, str], str]:
        """The stored points: (series, time) → fields, as the last line of each left them."""
        return points(self.stored)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls)
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
        request, size = await _read_request(reader)
        self.requests.append(request)
        self.arrived.set()
        if request.path not in _WRITE_PATHS:
            await _send(writer, Reply(204))
            return True
        fault = self.script.popleft() if self.script else self.always
        await asyncio.sleep(self.delay)
        match fault:
            case Hang():
                await reader.read()
                return False
            case Reset(after_commit=after_commit):
                if after_commit:
                    self.stored += request.lines
                writer.transport.abort()
                return False
            case _:
                await _send(writer, fault or self._behave(request, size))
                return True

    def _behave(self, request: Request, size: int) -> Reply:
        bucket = request.query.get(_WRITE_PATHS[request.path], "")
        if request.headers.get("authorization", "").rpartition(" ")[2] != self.token:
            return _error(401, "unauthorized", "unauthorized access")
        if bucket not in self.buckets:
            return _error(404, "not found", f'bucket "{bucket}" not found')
        if self.max_body is not None and size > self.max_body:
            return _error(413, "request too large", "unable to read data: points batch is too large")
        return self._write(request)

    def _write(self, request: Request) -> Reply:
        for number, line in enumerate(request.lines, 1):
            reason = self.malformed(line)
            if reason is not None:
                extra = {"line": number} if self.names_line else {}
                return _error(400, "invalid", f"unable to parse: {reason}", **extra)
        refusals = [(n, line, why) for n, line in enumerate(request.lines, 1) if (why := self.refused(line))]
        self.stored += [line for line in request.lines if not self.refused(line)]
        if not refusals:
            return Reply(204)
        if request.path == "/api/v3/write_lp":
            rows = [
                {"line_number": n, "original_line": line, "error_message": why}
                for n, line, why in refusals[:100]
            ]
            body = {"error": "partial write of line protocol occurred", "data": rows}
            return Reply(400, json.dumps(body), {"Content-Type": "application/json"})
        message = (
            f"failure writing points to database: partial write: {refusals[0][2]} dropped={len(refusals)}"
        )
        return _error(422, "unprocessable entity", message)


def _error(status: int, code: str, message: str, **extra: object) -> Reply:
    body = json.dumps({"code": code, "message": message, **extra})
    return Reply(status, body, {"Content-Type": "application/json; charset=utf-8"})


async def _read_request(reader: asyncio.StreamReader) -> tuple[Request, int]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (row.partition(":") for row in head[1:] if row)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    text = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
    lines = tuple(text.decode().split("\n")) if text else ()
    return Request(method, url.path, dict(parse_qsl(url.query)), headers, lines), len(text)


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    body = reply.body.encode()
    headers = {"Content-Length": str(len(body)), **reply.headers} if reply.status != 204 else reply.headers
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode())
    for byte in body if reply.seconds_a_byte else b"":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(reply.seconds_a_byte)
    if not reply.seconds_a_byte:
        writer.write(body)
    await writer.drain()
