"""Messages that are too many, too large, or not what a flow expects."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from reliability.plant import Plant, running
from reliability.publisher import STRANGE_TOPIC
from reliability.scenario import Outcome, scenario
from reliability.trial import (
    RATE,
    WARM_UP,
    endure,
    judge_at_rest,
    outcome,
    publishing,
    watching,
)
from reliability.watch import events, footprint
from tests.e2e.process import Flowrunner
from tests.servers.mqtt_peer import PUBACK, Peer, publish, publish_packet

IN_FLIGHT = 1000
"""Messages of QoS 1 that a broker sends ahead of our acknowledgement."""
POISON = (
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    '{"id": "ä'.encode("utf-16"),
    b"NaN",
    b"1e999",
    b'{"temperature": 1e999}',
    b"9" * 5000,
    b"[" * 2_000,
    b'{"a":' * 2_000,
    b'"\\ud800"',
    b"null",
    b"[]",
    b"17",
    b'"text"',
    b'{"temperature": {"deep": 1}}',
    b'{"temperature": "warm"}',
    b'{"id": {}, "temperature": []}',
    b"\x00" * 100,
)
"""Each is dead-lettered by the source, the filter or a sink."""
_FLOOD = 3000.0
_FLOOD_SECONDS = 6.0
_HUGE = 100 * 2**20
_MEMORY = 64 * 2**20
_WRONG_TOPICS = 200


@scenario(
    "a flood of QoS 1 on a slow database",
    "What comes faster than it can be written waits in the journal; memory stays bounded.",
    seconds=150,
)
async def flood(folder: Path) -> Outcome:
    plant = Plant(folder, rate=_FLOOD)
    async with running(plant), watching(plant) as seen:
        before = footprint(plant).rss
        plant.influx.delay = 0.5
        async with publishing(plant):
            await asyncio.sleep(_FLOOD_SECONDS)
        began = time.monotonic()
        judged = await judge_at_rest(plant)
    assert seen.rss_most - before < _MEMORY, f"{(seen.rss_most - before) / 2**20:.0f} MiB more memory"
    return outcome(judged, time.monotonic() - began)


@scenario("a payload of 100 MB", "It is left out; memory does not grow by it, and the others go on.")
async def huge(folder: Path) -> Outcome:
    return await _huge(folder, "5")


@scenario(
    "a payload of 100 MB, MQTT 3.1.1",
    "It is passed over as it streams in, counted and acknowledged, and the others go on.",
)
async def huge_old(folder: Path) -> Outcome:
    return await _huge(folder, '"3.1.1"')


async def _huge(folder: Path, protocol: str) -> Outcome:
    plant = Plant(folder, rate=RATE, protocol=protocol)
    async with running(plant), watching(plant) as seen:
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            before = footprint(plant).rss
            await publish(plant.broker.port, [(STRANGE_TOPIC, b"x" * _HUGE)])
            seconds = await plant.fresh()
            _, text = await plant.get("/metrics")
        judged = await judge_at_rest(plant)
    assert seen.rss_most - before < _MEMORY, f"{(seen.rss_most - before) / 2**20:.0f} MiB more memory"
    assert protocol == "5" or events(text, "too_large") == 1, "it was not counted"
    return outcome(judged, seconds)


@scenario(
    "poison payloads, ten times the in-flight limit",
    "Whatever cannot be used is acknowledged and dead-lettered, and the good ones between are written.",
    seconds=150,
)
async def poison(folder: Path) -> Outcome:
    async def fault(plant: Plant) -> None:
        count = 10 * IN_FLIGHT
        await publish(plant.broker.port, [(STRANGE_TOPIC, POISON[i % len(POISON)]) for i in range(count)])

    return await endure(Plant(folder, rate=RATE), fault)


FLOW = """\
version: 1
flow: climate
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{port}" }}
nodes:
  sensors: {{ type: mqtt_in, connection: broker, topics: ["home/#"], qos: 1 }}
  keep: {{ type: file_out, from: sensors, path: "{folder}/out.jsonl" }}
"""


@scenario(
    "topics that are not UTF-8",
    "They are counted and acknowledged, and cost neither connection nor neighbour.",
)
async def wrong_topics(folder: Path) -> Outcome:
    async with Peer() as broker, Flowrunner(folder) as flowrunner:
        flowrunner.write("climate.yaml", FLOW.format(port=broker.port, folder=folder))
        await flowrunner.start()
        for number in range(1, _WRONG_TOPICS, 2):
            bad = publish_packet(b"home/\xff\xfe", b"1", qos=1, mid=number, properties=b"")
            good = publish_packet("home/a", b"1", qos=1, mid=number + 1, properties=b"")
            broker.last.send(bad, good)
        await flowrunner.until(lambda: len(broker.last.of(PUBACK)) == _WRONG_TOPICS)
        await flowrunner.until(lambda: flowrunner.ledger("climate").get("written") == _WRONG_TOPICS // 2)
        _, text = flowrunner.get("/metrics")
        assert len(broker.connections) == 1, "it connected anew"
        assert events(text, "malformed") == _WRONG_TOPICS // 2, "they were not counted"
        assert await flowrunner.stop() == 0
    written = len((folder / "out.jsonl").read_text().splitlines())
    return Outcome(lost=_WRONG_TOPICS // 2 - written)
