"""A disk that fails under a running flowrunner: nothing is acknowledged, it lives, it says why, and goes on by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.e2e.process import Flowrunner
from tests.servers.bad_disk import BadDisk, bad_disks
from tests.servers.fake_influx import FakeInflux
from tests.servers.mosquitto import Mosquitto

FLOW = """
version: 1
flow: home
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{broker}" }}
  tsdb: {{ type: influxdb, url: "{influx}", org: home, token: "{token}" }}
nodes:
  sensors: {{ type: mqtt_in, connection: broker, topics: ["home/#"], qos: 1 }}
  store:
    type: influxdb_out
    from: sensors
    connection: tsdb
    bucket: home
    measurement: m
    fields: {{ id: =payload.id }}
    types: {{ id: int }}
"""
DISKS = bad_disks()


@pytest.fixture(params=DISKS, ids=[name.replace(" ", "-") for name in DISKS])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BadDisk]:
    found = DISKS[request.param]
    found.prepare(tmp_path / "state")
    yield found
    found.remove()


def publish(port: int, numbers: range) -> None:
    """Publish with QoS 1 and wait until the broker has everything.

    The first is large: it does not fit into what a full disk has left here and there.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    noise = [token_hex(100_000)] + [""] * len(numbers)
    payloads = [json.dumps({"id": number, "noise": noise[index]}) for index, number in enumerate(numbers)]
    sent = [client.publish("home/x", payload, qos=1) for payload in payloads]
    for each in sent:
        each.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def acknowledged(broker: Mosquitto) -> int:
    """Return how many messages flowrunner has told the broker that it has."""
    return broker.log().count("Received PUBACK from flowrunner")


def ids(influx: FakeInflux) -> Counter[int]:
    return Counter(int(line.split("id=")[1].split("i")[0]) for line in influx.stored)


@pytest.mark.timeout(180)
async def test_what_the_disk_does_not_take_is_not_acknowledged_and_comes_when_it_does(
    disk: BadDisk, tmp_path: Path
) -> None:
    async with (
        Mosquitto(tmp_path / "mosquitto", options="log_type all") as broker,
        FakeInflux() as influx,
        Flowrunner(tmp_path, checkpoint_every="1s") as flowrunner,
    ):
        flowrunner._environment.update(disk.environment)
        flowrunner.write("home.yaml", FLOW.format(broker=broker.port, influx=influx.url, token=influx.token))
        await flowrunner.start()
        assert flowrunner.process is not None
        pid = flowrunner.process.pid
        await asyncio.to_thread(publish, broker.port, range(50))
        await flowrunner.until(lambda: len(influx.stored) == 50 and acknowledged(broker) == 50)

        disk.fail(pid)
        await asyncio.to_thread(publish, broker.port, range(50, 150))
        await flowrunner.until(lambda: flowrunner.get("/readyz")[0] == 503)
        answers = set()
        causes: set[str] = set()
        until = time.monotonic() + 8
        while time.monotonic() < until:
            live, _ = await asyncio.to_thread(flowrunner.get, "/livez")
            ready, body = await asyncio.to_thread(flowrunner.get, "/readyz")
            answers.add((live, ready))
            causes |= {cause["reason"] for cause in body["trouble"]}
            await asyncio.sleep(0.2)
        assert {(200, 503)} == answers
        assert any(cause.startswith("journal: ") for cause in causes), causes
        assert (50, 50) == (acknowledged(broker), len(influx.stored))

        disk.mend(pid)
        mended = time.monotonic()
        await flowrunner.until(lambda: len(ids(influx)) == 150 and flowrunner.get("/readyz")[0] == 200)
        assert time.monotonic() - mended < 30
        assert Counter(range(150)) == ids(influx)
        assert (pid, 0) == (flowrunner.process.pid, flowrunner.ledger("home")["unaccounted"])
        assert 150 == acknowledged(broker)
        assert 0 == await flowrunner.stop()
        assert "Traceback" not in flowrunner.log.read_text()
