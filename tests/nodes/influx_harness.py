"""The engine's part around a sink that may say "later", and an `influxdb_out` ready to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from flowrunner import ConnectionContext, Context, Message, RetryLater, Sink
from flowrunner_nodes.influxdb import InfluxdbConnection, InfluxdbOptions
from flowrunner_nodes.influxdb_out import InfluxdbOut
from tests.nodes.harness import RecordingLog, SetClock, options
from tests.servers.fake_influx import TOKEN

START = 1_772_359_200_000_000_000


@dataclass
class Delivery:
    """What came of a batch: the messages that failed and why, and how often the sink asked to come again."""

    failures: list[tuple[Message, str]] = field(default_factory=list)
    retries: list[RetryLater] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.failures]

    @property
    def failed(self) -> list[Any]:
        return [message.payload for message, _ in self.failures]


async def deliver(node: Sink[Any], messages: Sequence[Message], *, attempts: int = 20) -> Delivery:
    """Write a batch as the engine does, but without waiting; the counters must balance at the end.

    Gives up with the last :class:`RetryLater` after so many attempts.
    """
    delivery, counters, failures = Delivery(), node.context.counters, node.context.failures
    counters.received += len(messages)
    pending = messages
    while True:
        before, dropped = len(pending), sum(counters.dropped.values())
        later = await _write(node, pending)
        pending = () if later is None else later.remaining or ()
        dropped = sum(counters.dropped.values()) - dropped
        counters.written += before - dropped - len(failures) - len(pending)
        counters.dead_lettered += len(failures)
        delivery.failures += failures
        failures.clear()
        assert counters.balance() == len(pending)
        if later is None:
            return delivery
        delivery.retries.append(later)
        assert pending, "a sink that has nothing left to write must not ask to come again"
        if len(delivery.retries) >= attempts:
            raise later


async def _write(node: Sink[Any], messages: Sequence[Message]) -> RetryLater | None:
    try:
        await node.write(messages)
    except RetryLater as later:
        return later
    return None


@asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[InfluxdbConnection]:
    """Return a connection to a server, closed at the end."""
    defaults = {"url": url, "org": "home", "token": TOKEN, "timeout": "2s"}
    config = InfluxdbOptions.model_validate(defaults | given)
    context = ConnectionContext("flow", "tsdb", SetClock(), RecordingLog())
    connection = InfluxdbConnection(config, context)
    try:
        yield connection
    finally:
        await connection.close()


def sink(connection: InfluxdbConnection, **given: Any) -> InfluxdbOut:
    """Return a sink that writes `climate,sensor=TOPIC` into the bucket `home`."""
    defaults: dict[str, Any] = {
        "connection": "tsdb",
        "bucket": "home",
        "measurement": "climate",
        "tags": {"sensor": "=topic"},
    }
    context = Context("flow", "store", log=RecordingLog(), clock=SetClock(), connection=connection)
    return InfluxdbOut(options(InfluxdbOut, **defaults | given), context)


def readings(count: int, *, start: int = START) -> list[Message]:
    """Return messages a second apart whose payload is ``{"value": index}``."""
    return [Message("kitchen", {"value": index}, start + index * 1_000_000_000) for index in range(count)]


def lines(indices: Sequence[int]) -> list[str]:
    """Return the lines that such messages become."""
    return [f"climate,sensor=kitchen value={index} {START + index * 1_000_000_000}" for index in indices]
