"""The event stream of the live page: numbers every second, a bound on listeners, an end at shutdown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flowrunner import Message
from flowrunner.admin import events
from flowrunner.admin.app import create_app
from flowrunner.admin.events import Listeners, snapshot
from flowrunner.admin.server import listen, serve
from tests.admin.harness import admin, graph


async def test_a_snapshot_tells_what_the_page_shows(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        process.sink("house").gate.clear()
        await process.feed("house", 2)
        await asyncio.sleep(0.05)
        await process.feed("house", 4, 6)
        await asyncio.sleep(0.05)
        flow = snapshot(process.process)["flows"]["house"]
        assert (3, 0, 6, 0) == (flow["received"], flow["written"], flow["held"], flow["unaccounted"])
        assert 2 == flow["nodes"]["b"]["depth"]
        process.sink("house").gate.set()
        await asyncio.sleep(0.05)

        flow = snapshot(process.process)["flows"]["house"]
        assert ["6", "4", "2"] == flow["nodes"]["b"]["last"]
        assert [] == flow["nodes"]["a"]["last"]
        assert {"out": 6 - 3} == flow["nodes"]["n"]["emitted"]
        assert flow["checkpoint_age"] >= 0


async def test_a_message_that_cannot_be_shown_does_not_end_the_stream(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:

        def show(message: Message) -> str:
            raise ZeroDivisionError

        await process.feed("house", 2)
        await asyncio.sleep(0.05)
        process.sink("house").show = show  # type: ignore[method-assign]
        last = snapshot(process.process)["flows"]["house"]["nodes"]["b"]["last"]
        process.sink("house").show = lambda message: "x" * 1000  # type: ignore[method-assign]
        long = snapshot(process.process)["flows"]["house"]["nodes"]["b"]["last"]

        assert (["cannot be shown: ZeroDivisionError"], ["x" * 200]) == (last, long)


async def test_the_stream_goes_on_until_the_process_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PERIOD", 0.01)
    async with admin(tmp_path, graph()) as process:
        found: list[Any] = []
        async for event in Listeners(process.process).stream():
            assert event.startswith(b"data: ")
            assert event.endswith(b"\n\n")
            found.append(json.loads(event[6:]))
            process.process.stopping = len(found) == 3

        assert [True, True, True] == [one["ready"] for one in found]


async def _stream(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    status = int((await reader.readline()).split()[1])
    return reader, writer, status


async def test_pages_that_listen_are_limited_and_those_that_leave_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PERIOD", 0.02)
    monkeypatch.setattr(events, "LISTENERS", 3)
    async with admin(tmp_path, graph()) as process:
        stop, listening = asyncio.Event(), listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        serving = asyncio.create_task(serve(create_app(process.process, None, local=True), listening, stop))
        async with asyncio.timeout(10):
            streams = [await _stream(port) for _ in range(3)]
            refused = await _stream(port)
            assert ([200, 200, 200], 503) == ([status for *_, status in streams], refused[2])
            streams[0][1].close()
            refused[1].close()
            while (again := await _stream(port))[2] != 200:
                again[1].close()
                await asyncio.sleep(0.02)
            process.process.stopping = True
            assert await streams[1][0].readuntil(b"\r\n0\r\n\r\n")
            for _, writer, _ in [*streams, again]:
                writer.close()
        stop.set()
        await asyncio.wait_for(serving, 5)
        listening.close()


async def test_of_a_burst_of_pages_no_more_are_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted when they are let in, though none has got an event yet."""
    monkeypatch.setattr(events, "LISTENERS", 3)
    async with admin(tmp_path, graph()) as process:
        listeners = Listeners(process.process)
        streams = [listeners.stream() for _ in range(5) if not listeners.full()]
        assert (3, True) == (len(streams), listeners.full())
        del streams

        assert not listeners.full()


async def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    with listen("::1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on ::1, port {port}: Address already in use"):
            listen("::1", port)
