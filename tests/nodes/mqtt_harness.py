"""A flow of MQTT sources without an engine: a journal that a test holds in its hands, and the nodes' tasks."""

from __future__ import annotations

import asyncio
import socket
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from flowrunner import ConnectionContext, JournalFull, Record, SourceContext, SystemClock
from flowrunner_nodes._mqtt_inbox import Inbox
from flowrunner_nodes._mqtt_reading import ReadLoop
from flowrunner_nodes.mqtt import MqttConnection, MqttOptions
from flowrunner_nodes.mqtt_in import Config, MqttIn


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def _add(self, level: str, event: str, **facts: Any) -> None:
        self.lines.append((level, event, facts))

    def debug(self, event: str, **facts: Any) -> None:
        self._add("debug", event, **facts)

    def info(self, event: str, **facts: Any) -> None:
        self._add("info", event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._add("warning", event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        self._add("error", event, **facts)


class Journal(SourceContext):
    """Commits at once, or when told (``hold``), or not at all (``full``, ``broken``)."""

    def __init__(self, node: str, connection: MqttConnection, log: Log) -> None:
        super().__init__("flow", node, log=log, clock=SystemClock(), connection=connection)
        self.saved: list[Record] = []
        self.batches: list[int] = []
        self.hold = False
        self.full = False
        self.broken = False
        self.delay = 0.0
        self.held: list[tuple[Sequence[Record], Future[None]]] = []

    def post(self, records: Sequence[Record], cursor: Any = None) -> Future[None]:
        if self.full:
            raise JournalFull("the journal is full")
        self.counters.received += len(records)
        loop = asyncio.get_running_loop()
        future: Future[None] = loop.create_future()
        self.held.append((records, future))
        if self.delay:
            loop.call_later(self.delay, self.commit)
        elif not self.hold:
            loop.call_soon(self.commit)
        return future

    def commit(self) -> None:
        """Make safe what was posted, or fail to."""
        held, self.held = self.held, []
        for records, future in held:
            if self.broken:
                self.counters.drop("journal_error", len(records))
                future.set_exception(OSError("no space left on device"))
            else:
                self.saved += records
                self.batches.append(len(records))
                self.counters.emitted["out"] = self.counters.emitted.get("out", 0) + len(records)
                if not future.cancelled():
                    future.set_result(None)

    @property
    def topics(self) -> list[str]:
        return [record.topic for record in self.saved]

    @property
    def payloads(self) -> list[Any]:
        return [msgspec.json.decode(record.data) for record in self.saved]


class Flow:
    """A connection and its nodes, run as the engine runs them."""

    def __init__(
        self, options: dict[str, Any], nodes: dict[str, dict[str, Any]], *, flow: str = "flow"
    ) -> None:
        self.log = Log()
        self.context = ConnectionContext(flow, "broker", SystemClock(), self.log, "test")
        self.connection = MqttConnection(MqttOptions(**options), self.context)
        self.journals: dict[str, Journal] = {}
        self.nodes: dict[str, MqttIn] = {}
        for name, config in nodes.items():
            self.add(name, config)

    def add(self, name: str, config: dict[str, Any]) -> MqttIn:
        """Construct a node, with the journal of the one it replaces if there is one."""
        journal = self.journals.setdefault(name, Journal(name, self.connection, self.log))
        node = self.nodes[name] = MqttIn(Config(type="mqtt_in", connection="broker", **config), journal)
        return node

    def __getitem__(self, name: str) -> Journal:
        return self.journals[name]

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.connection.counts)

    @property
    def reading(self) -> ReadLoop:
        client = self.connection._hub._client
        assert client is not None
        assert client.reading is not None
        return client.reading

    def cut(self) -> None:
        """Break the connection as a network does."""
        client: Any = self.connection._hub._client
        client._client.socket().shutdown(socket.SHUT_RDWR)

    async def reconnected(self, times: int) -> None:
        await until(lambda: self.context.reconnects == times and self.up())

    def up(self) -> bool:
        return self.context.up and all(journal.status == "running" for journal in self.journals.values())

    def balanced(self) -> bool:
        return all(journal.counters.balance() == 0 for journal in self.journals.values() if not journal.held)


def inbox_of(flow: Flow, node: str) -> Inbox:
    """Return where the messages of a node wait that is attached to its connection."""
    inbox = flow.nodes[node]._inbox
    assert inbox is not None
    return inbox


async def run_node(node: MqttIn) -> None:
    """Run a node between its ``open`` and ``close``."""
    try:
        await node.open()
        await node.run()
    finally:
        await node.close()


@asynccontextmanager
async def running(
    options: dict[str, Any], nodes: dict[str, dict[str, Any]], *, up: bool = True, hold: bool = False
) -> AsyncIterator[Flow]:
    """Run a flow; with ``up`` wait until it is connected and subscribed."""
    flow = Flow(options, nodes)
    for journal in flow.journals.values():
        journal.hold = hold
    tasks = [asyncio.create_task(run_node(node)) for node in flow.nodes.values()]
    tasks.append(asyncio.create_task(flow.connection.run()))
    try:
        if up:
            await until(flow.up)
        yield flow
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        assert not failed
        assert flow.balanced()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():  # the condition is the test's
            await asyncio.sleep(0.005)
