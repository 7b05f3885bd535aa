"""A storm of changes against the patience of Home Assistant: who does not read in time loses the connection."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio import Future
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

from flowrunner import Record
from flowrunner_nodes import _ha_outbox
from tests.nodes import ha_harness
from tests.nodes.ha_harness import running, until
from tests.servers.fake_home_assistant import TOKEN, FakeHomeAssistant

MOST_PENDING = 4096
PEAK = 1024
PEAK_SECONDS = 5.0
"""What Home Assistant's WebSocket API allows: so many messages at once, and so many more for so long."""
RATE = 5_000
SECONDS = int(os.environ.get("FLOWRUNNER_STORM_SECONDS", "5"))
"""How long the storm lasts; a minute takes too long to run always."""
TICK = 0.01
ENTITIES = 200
TEXT = "x" * 1_000
"""Makes the storm larger than what the buffers of the sockets take for a client that does not read."""
COMMIT_SECONDS = 0.8
"""For up to 2,048 records: half of what the storm brings."""


@asynccontextmanager
async def impatient() -> AsyncIterator[FakeHomeAssistant]:
    """Serve as Home Assistant does, that has no patience with slow clients."""
    async with FakeHomeAssistant() as server:
        server.most_pending = MOST_PENDING
        server.commits = False
        watch = asyncio.create_task(_cut_slow_clients(server))
        try:
            yield server
        finally:
            watch.cancel()
            await asyncio.wait([watch])


async def _cut_slow_clients(server: FakeHomeAssistant) -> None:
    loop = asyncio.get_running_loop()
    since: dict[int, float] = {}
    while True:
        for client in list(server.clients):
            began = since.setdefault(id(client), loop.time())
            if len(client.pending) <= PEAK:
                del since[id(client)]
            elif loop.time() - began >= PEAK_SECONDS:
                client.socket.transport.abort()
        await asyncio.sleep(TICK)


def change(server: FakeHomeAssistant, number: int) -> None:
    """Write a state that no other has."""
    server.set(f"sensor.s{number % ENTITIES}", str(number), {"text": f"{number}{TEXT}"})
    server.uncommitted.clear()


async def storm(server: FakeHomeAssistant) -> int:
    """Change states at an even pace; return how many."""
    loop = asyncio.get_running_loop()
    start, each = loop.time(), int(RATE * TICK)
    for tick in range(int(SECONDS / TICK)):
        for number in range(tick * each, (tick + 1) * each):
            change(server, number)
        await asyncio.sleep(max(0.0, start + (tick + 1) * TICK - loop.time()))
    return RATE * SECONDS


@pytest.fixture
def slow_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each commit take its time."""

    def post(journal: ha_harness.Journal, records: Sequence[Record], cursor: Any = None) -> Future[None]:
        loop = asyncio.get_running_loop()
        future: Future[None] = loop.create_future()
        packed = msgspec.msgpack.encode(cursor)
        loop.call_later(COMMIT_SECONDS, journal._commit, list(records), packed, future)
        return future

    monkeypatch.setattr(ha_harness.Journal, "post", post)


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.usefixtures("slow_journal")
async def test_a_storm_on_a_slow_journal_costs_no_connection_and_nothing_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_ha_outbox, "LIMIT", 2048)
    async with impatient() as server, running(server, {"a": {}}) as flow:
        journal = flow["a"]
        sent = await storm(server)
        await until(lambda: journal.counters.received == sent)
        dropped = journal.counters.dropped["buffer_full"]

    numbers = [int(state) for state in journal.states]
    assert sent == len(numbers) + dropped
    assert 0 < dropped < sent
    assert sorted(set(numbers)) == numbers  # in order, none twice
    assert sent - 1 == numbers[-1]  # it is the oldest that are dropped
    assert (1, 0) == (server.connects, flow.context.reconnects)


async def test_a_client_that_does_not_read_is_cut_by_such_a_storm() -> None:
    options: dict[str, Any] = {"compression": None, "ping_interval": None, "close_timeout": 0.1}
    async with (
        impatient() as server,
        connect(f"ws://127.0.0.1:{server.port}{server.path}", **options) as socket,
    ):
        await socket.send(json.dumps({"type": "auth", "access_token": TOKEN}))
        await socket.send(json.dumps({"id": 1, "type": "subscribe_entities"}))
        await until(lambda: server.clients and server.clients[0].entities)
        for number in range(RATE * SECONDS):
            if not server.clients:
                break
            change(server, number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: not server.clients)

    assert MOST_PENDING < number < RATE * SECONDS - 1
