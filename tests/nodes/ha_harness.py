"""A flow of Home Assistant sources without an engine: a journal that a test holds in its hands, and the nodes' tasks."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from flowrunner import ConnectionContext, JournalFull, Record, SourceContext, SystemClock
from flowrunner_nodes.ha_in import Config, HaIn
from flowrunner_nodes.home_assistant import HomeAssistantConnection, HomeAssistantOptions
from tests.nodes.harness import RecordingLog
from tests.servers.fake_home_assistant import TOKEN, FakeHomeAssistant


class Journal(SourceContext):
    """Commits records and cursor at once, or not at all (``full``, ``broken``)."""

    def __init__(self, node: str, connection: HomeAssistantConnection, cursor: Any = None) -> None:
        log = RecordingLog()
        super().__init__("flow", node, log=log, clock=SystemClock(), connection=connection)
        self.lines = log.lines
        self.cursor = cursor
        self.saved: list[Record] = []
        self.batches: list[int] = []
        self.full = False
        self.broken = False

    def post(self, records: Sequence[Record], cursor: Any = None) -> Future[None]:
        if self.full:
            raise JournalFull("the journal is full")
        packed = msgspec.msgpack.encode(cursor)
        future: Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._commit, list(records), packed, future)
        return future

    def _commit(self, records: list[Record], cursor: bytes, future: Future[None]) -> None:
        if self.broken:
            future.set_exception(OSError("no space left on device"))
            return
        self.counters.received += len(records)
        self.counters.emitted["out"] = self.counters.emitted.get("out", 0) + len(records)
        self.saved += records
        self.batches.append(len(records))
        self.cursor = msgspec.msgpack.decode(cursor) or self.cursor
        if not future.done():
            future.set_result(None)

    @property
    def payloads(self) -> list[Any]:
        return [msgspec.json.decode(record.data) for record in self.saved]

    @property
    def states(self) -> list[str]:
        return [payload["state"] for payload in self.payloads]

    @property
    def origins(self) -> list[Any]:
        return [record.meta["origin"] for record in self.saved]

    def of(self, entity: str) -> list[str]:
        """Return the states of one entity, in the order of the journal."""
        return [payload["state"] for payload in self.payloads if payload["entity_id"] == entity]


class Flow:
    """A connection and its nodes, run as the engine runs them."""

    def __init__(
        self, options: dict[str, Any], nodes: dict[str, dict[str, Any]], cursors: dict[str, Any]
    ) -> None:
        self.log = RecordingLog()
        self.context = ConnectionContext("flow", "home", SystemClock(), self.log, "test")
        self.connection = HomeAssistantConnection(HomeAssistantOptions(**options), self.context)
        self.journals = {name: Journal(name, self.connection, cursors.get(name)) for name in nodes}
        self.nodes = {
            name: HaIn(Config(type="ha_in", connection="home", **config), self.journals[name])
            for name, config in nodes.items()
        }

    def __getitem__(self, name: str) -> Journal:
        return self.journals[name]

    def up(self) -> bool:
        return self.context.up and all(journal.status == "running" for journal in self.journals.values())

    async def reconnected_again(self) -> None:
        """Wait until the connection was made anew, and all nodes have subscribed again."""
        await until(lambda: not self.up())
        await until(self.up)

    def logged(self) -> str:
        """Return all that was logged, by the connection and the nodes."""
        return repr([self.log.lines, *(journal.lines for journal in self.journals.values())])

    def cursors(self) -> dict[str, Any]:
        return {name: journal.cursor for name, journal in self.journals.items()}


@asynccontextmanager
async def running(
    server: FakeHomeAssistant | None,
    nodes: dict[str, dict[str, Any]],
    *,
    up: bool = True,
    cursors: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Flow]:
    """Run a flow; with ``up`` wait until it is connected and subscribed."""
    if server is not None:
        options = {"url": server.url, "token": TOKEN, **options}
    flow = Flow(options, nodes, cursors or {})
    tasks = [asyncio.create_task(node.run()) for node in flow.nodes.values()]
    tasks.append(asyncio.create_task(flow.connection.run()))
    try:
        if up:
            await until(flow.up)
        yield flow
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        assert not failed
    finally:
        for task in reversed(tasks):
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
    assert all(journal.counters.balance() == 0 for journal in flow.journals.values())


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():  # the condition is the test's
            await asyncio.sleep(0.005)
