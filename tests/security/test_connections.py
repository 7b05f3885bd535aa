"""Senders that dribble, and floods of connections, leave the server usable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flowrunner.admin import gate, server
from flowrunner.admin.app import create_app
from flowrunner.admin.server import listen, serve
from tests.admin.harness import admin, graph

HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[int]:
    """Serve an application and yield its port."""
    async with admin(folder, graph()) as process:
        listening, stop = listen("127.0.0.1", 0), asyncio.Event()
        task = asyncio.create_task(serve(create_app(process.process, None, local=True), listening, stop))
        try:
            yield listening.getsockname()[1]
        finally:
            process.process.stopping = True
            stop.set()
            await task
            listening.close()


async def _end(reader: asyncio.StreamReader) -> bytes:
    """Return what is sent until the connection ends."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "first",
    [b"", b"GET", HEAD, HEAD + b"\r\n" + HEAD, b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"],
    ids=["nothing", "a verb", "half a head", "half a second head", "no body after a refusal"],
)
async def test_who_does_not_finish_a_head_is_cut(
    first: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with serving(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def dribble() -> None:
            writer.write(first)
            while True:
                await asyncio.sleep(0.05)
                writer.write(b"X")

        dribbling = asyncio.create_task(dribble())
        answered = await _end(reader)
        dribbling.cancel()
        writer.close()

        assert answered.count(b"HTTP/1.1 200") == first.count(b"\r\n\r\n" + b"GET")


async def test_who_does_not_finish_a_body_is_told_and_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    async with serving(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        answered = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.close()

        assert answered.startswith(b"HTTP/1.1 408")


async def test_a_head_that_has_no_end_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"X-Long: " + b"a" * 200_000)
        answered = await _end(reader)
        writer.close()

        assert answered.startswith(b"HTTP/1.1 400") or answered == b""


async def test_a_flood_of_connections_is_cut_at_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    async with serving(tmp_path) as port:
        flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        cut = [asyncio.create_task(_end(reader)) for reader, _ in flood]
        done, waiting = await asyncio.wait(cut, timeout=0.5)
        assert (15, 5) == (len(done), len(waiting))
        for task in waiting:
            task.cancel()
        for _, writer in flood:
            writer.close()
        await asyncio.sleep(0.1)

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"Connection: close\r\n\r\n")
        assert (await _end(reader)).startswith(b"HTTP/1.1 200")
        writer.close()
