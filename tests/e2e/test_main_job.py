"""The main job on real servers: MQTT in, filter, throttle, aggregate, InfluxDB out; killed ten times on the way."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrunner import SystemClock
from flowrunner.graph.load import load_flows
from flowrunner.message import Record
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.journal import Entry
from flowrunner.runtime.storage import FlowSettings, Storage
from tests.e2e.process import Flowrunner
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import Replay, registered
from tests.servers.fake_influx import FakeInflux
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import publish

FLOW = """
version: 1
flow: climate
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{mqtt}" }}
  tsdb: {{ type: influxdb, url: "{influx}", org: home, token: "${{INFLUX_TOKEN:-{token}}}" }}
nodes:
  sensors: {source}
  valid:
    type: filter
    from: sensors
    where: payload.temperature > -40.0 && payload.temperature < 80.0
  calm:
    type: throttle
    from: valid
    key: topic
    every: 50ms
    emit: both
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
    batch: {{ max_age: 100ms }}
"""
MQTT_SOURCE = "{ type: mqtt_in, connection: broker, topics: ['home/+/climate'], qos: 1 }"
REPLAY_SOURCE = "{ type: replay }"
COUNT = 50_000
KILLS = 10


def readings(first: int, count: int) -> Iterator[tuple[str, bytes]]:
    for number in range(first, first + count):
        temperature = 150.0 if number % 97 == 0 else 20.0 + number % 31 / 10
        yield (
            f"home/room{number % 20}/climate",
            json.dumps({"id": number, "temperature": temperature}).encode(),
        )


@pytest.mark.timeout(240)
@pytest.mark.server
async def test_killed_ten_times_nothing_is_lost_and_the_points_are_those_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    random.seed(4711)
    async with Mosquitto(tmp_path / "mosquitto") as broker, FakeInflux() as influx:
        flow = FLOW.format(mqtt=broker.port, influx=influx.url, token=influx.token, source=MQTT_SOURCE)
        async with Flowrunner(tmp_path, checkpoint_every="300ms") as flowrunner:
            flowrunner.write("climate.yaml", flow)
            await flowrunner.start()
            acknowledged = asyncio.create_task(_publish(broker.port))
            for _ in range(KILLS):
                await asyncio.sleep(random.uniform(0.2, 1.0))
                flowrunner.kill()
                await flowrunner.start()
            await acknowledged
            await flowrunner.until(lambda: _quiet(flowrunner), 60)
            books = flowrunner.ledger("climate")
            code = await flowrunner.stop()

        entries = await _journal(flowrunner.state)
        journaled = {json.loads(entry.data)["id"] for entry in entries}
        assert 0 == code
        assert set(range(COUNT)) == journaled
        assert (len(entries), 0, 0) == (books["received"], books["unaccounted"], books["held"])
        undisturbed = await _undisturbed(entries, broker.port, tmp_path)
        assert len(undisturbed) > 100
        assert undisturbed == influx.points


async def _publish(port: int) -> None:
    """Publish everything, in pieces, and return when the broker has acknowledged the last."""
    piece = COUNT // 50
    for first in range(0, COUNT, piece):
        await publish(port, readings(first, piece))
        await asyncio.sleep(0.1)


def _quiet(flowrunner: Flowrunner) -> bool:
    books = flowrunner.ledger("climate")
    return bool(books) and books["received"] >= COUNT and books["held"] == 0


async def _journal(state: Path) -> list[Entry]:
    """Return everything that was ever journaled."""
    storage = Storage("climate", "journal", FlowSettings(state_dir=state), SystemClock())
    await storage.open()
    entries: list[Entry] = []
    while found := await storage.journal.read(entries[-1].seq if entries else 0):
        entries += found
    await storage.close()
    return entries


async def _undisturbed(entries: list[Entry], mqtt: int, folder: Path) -> dict[Any, Any]:
    """Run the same flow over the same journal, from the beginning to the end without a break."""
    async with FakeInflux() as influx:
        text = FLOW.format(mqtt=mqtt, influx=influx.url, token=influx.token, source=REPLAY_SOURCE)
        file = folder / "undisturbed.yaml"
        file.write_text(text)
        with registered(replay=Replay):
            graph = load_flows([file], environment={}, strict_environment=True).graphs["climate"]
        settings = FlowSettings(state_dir=Path("unused"))
        storage = Storage("climate", "memory", settings, SystemClock())
        await storage.open()
        runner = FlowRunner(graph, storage, settings, SystemClock(), RecordingLog())
        task = asyncio.create_task(runner.run())
        await runner.ready.wait()
        source = runner.assembly.sources["sensors"]
        for first in range(0, len(entries), 1000):
            await source.context.post(
                [
                    Record(e.data, e.topic, e.time, e.meta or {}, e.clock)
                    for e in entries[first : first + 1000]
                ]
            )
            await asyncio.sleep(0.01)
        assert isinstance(source.node, Replay)
        source.node.end.set()
        async with asyncio.timeout(60):
            while runner.ledger.held:
                await asyncio.sleep(0.05)
        runner.stop(5.0)
        await task
        await storage.close()
        return influx.points
