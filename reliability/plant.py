"""A whole installation to do harm to: publisher, broker, network, flowrunner, database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reliability.publisher import Publisher, number_of
from tests.e2e.process import START_SECONDS, Flowrunner
from tests.servers.cut_proxy import CutProxy
from tests.servers.fake_influx import FakeInflux
from tests.servers.mosquitto import Mosquitto

WINDOWS = """\
version: 1
flow: climate
description: Generation {edition}
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{mqtt}", protocol: {protocol}, keepalive: 4s, session_expiry: 1d }}
  tsdb: {{ type: influxdb, url: "http://127.0.0.1:{influx}", org: home, token: "${{INFLUX_TOKEN:-{token}}}", timeout: 3s }}
nodes:
  sensors: {source}
  valid:
    type: filter
    from: sensors
    where: payload.temperature > -40.0 && payload.temperature < 80.0
  calm: {{ type: throttle, from: valid, key: topic, every: 150ms, emit: both }}
  second:
    type: aggregate
    from: calm
    key: topic
    window: {{ type: tumbling, size: 1s }}
    fields:
      mean: time_weighted_mean(payload.temperature)
      max: max(payload.temperature)
      samples: count()
  store:
    type: influxdb_out
    from: second
    connection: tsdb
    bucket: home
    measurement: climate
    tags: {{ sensor: =topic }}
    batch: {{ max_age: 200ms }}
"""
"""From the source to windows in the database: what the journal alone decides."""
EVERY = """\
  every:
    type: influxdb_out
    from: sensors
    connection: tsdb
    bucket: home
    measurement: every
    tags: {{ sensor: =topic }}
    fields: {{ id: =payload.id }}
    types: {{ id: int }}
    batch: {{ max_age: {max_age}ms }}
  keep:
    type: sqlite_out
    from: sensors
    path: "{folder}/keep.sqlite"
    measurement: every
    tags: {{ sensor: =topic }}
    fields: {{ id: =payload.id }}
"""
"""Two more sinks, which get every message."""
MQTT_SOURCE = "{ type: mqtt_in, connection: broker, topics: ['home/+/climate'], qos: 1, format: json }"
QUIET_SECONDS = 100.0
_REST = 20
"""Looks in a row that must show the same, a tenth of a second and more apart."""


class Plant:
    """One installation. ``settled`` is what all faults end with: everything that was taken over is written."""

    def __init__(
        self, folder: Path, *, rate: float, persistence: bool = True, protocol: str = "5", **settings: str
    ) -> None:
        self.folder = folder
        self._protocol = protocol
        self.broker = Mosquitto(folder / "mosquitto", persistence=persistence)
        self.influx = FakeInflux()
        self.to_broker = CutProxy(self.broker.port)
        self.publisher_to_broker = CutProxy(self.broker.port)
        self.publisher = Publisher(self.publisher_to_broker.port, rate)
        self.flowrunner = Flowrunner(folder, **{"checkpoint_every": "1s", "shutdown_grace": "8s", **settings})
        self.to_influx: CutProxy
        self.edition = 0
        self.lines: list[str] = []
        """What the database has stored, in order, repeats included."""
        self.written: set[int] = set()
        """Numbers of the messages that are in the database."""
        self.newest = 0
        """The highest of them."""
        self.excused: list[tuple[float, float]] = []
        """Times during which the broker may have acknowledged what it then lost with its memory."""
        self.answering = False
        """Whether the process has come so far that it must answer from now on."""
        self.paused = False
        self.paused_until = 0.0

    def deploy(self) -> None:
        """Write the flow as another edition: one sink's options change, all else means the same."""
        self.edition += 1
        self.flowrunner.write(
            "climate.yaml",
            (WINDOWS + EVERY).format(
                edition=self.edition,
                mqtt=self.to_broker.port,
                influx=self.to_influx.port,
                token=self.influx.token,
                protocol=self._protocol,
                source=MQTT_SOURCE,
                max_age=200 + self.edition % 2 * 50,
                folder=self.folder,
            ),
        )

    def collect(self) -> None:
        """Take what the database has stored since the last call."""
        stored, self.influx.stored = self.influx.stored, []
        self.influx.requests.clear()
        self.lines += stored
        self.written.update(numbers := [number_of(line) for line in stored if line.startswith("every,")])
        self.newest = max(self.newest, *numbers, 0)

    async def fresh(self, seconds: float = QUIET_SECONDS) -> float:
        """Wait until something published from now on is written and all is ready; return the seconds it took."""
        begin, before = time.monotonic(), self.publisher.published

        async def arrived() -> bool:
            self.collect()
            return self.newest > before

        await self.until(arrived, "what is published now is not written", seconds)
        await self.until(self.ready, "it is not ready", seconds)
        return time.monotonic() - begin

    async def settled(self, seconds: float = QUIET_SECONDS) -> None:
        """Wait until nothing is under way any more, once the publisher has ended."""
        seen: list[int] = []

        async def at_rest() -> bool:
            books = await self.books()
            resting = bool(books) and books["held"] == 0 and await self.ready()
            seen.append(books["received"] if resting else -len(seen) - 1)
            # The journal may be empty for a moment while the broker still has something.
            return len(seen) > _REST and len(set(seen[-_REST:])) == 1

        await self.until(at_rest, "it does not come to rest", seconds)
        self.collect()

    async def books(self) -> dict[str, Any]:
        """Return the flow's ledger; empty when nobody answers."""
        return await asyncio.to_thread(self.flowrunner.ledger, "climate")

    async def get(self, path: str) -> tuple[int, Any]:
        """Ask flowrunner, without holding anybody up."""
        return await asyncio.to_thread(self.flowrunner.get, path)

    def must_answer(self) -> bool:
        """Whether flowrunner has come so far that it answers, as long as its process lives and is not held up."""
        return self.answering and not self.paused

    async def ready(self) -> bool:
        """Whether flowrunner is well."""
        return (await self.get("/readyz"))[0] == 200

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
        """Wait until a condition holds."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            _, why = await self.get("/readyz")
            raise AssertionError(f"after {seconds:.0f} s {what}: {why}") from None

    async def start(self) -> None:
        """Start flowrunner again and wait until it answers."""

        async def alive() -> bool:
            return (await self.get("/livez"))[0] == 200

        self.answering = False
        self.flowrunner.launch()
        await self.until(alive, "it does not answer", START_SECONDS)
        self.answering = True


@asynccontextmanager
async def running(plant: Plant) -> AsyncIterator[Plant]:
    """Start everything, publish, and end everything."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(plant.broker)
        await stack.enter_async_context(plant.influx)
        plant.to_influx = CutProxy(int(plant.influx.url.rpartition(":")[2]))
        for link in (plant.to_influx, plant.to_broker, plant.publisher_to_broker):
            await stack.enter_async_context(link)
        await stack.enter_async_context(plant.flowrunner)
        plant.deploy()
        await plant.start()
        await plant.until(plant.ready, "it is not ready", QUIET_SECONDS)
        yield plant
