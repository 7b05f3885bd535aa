"""``mqtt_out`` and ``http_out`` in a process that is killed, with servers that fail: nothing is lost, repeats are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.process import Flowrunner
from tests.nodes.mqtt_harness import running, until
from tests.servers.fake_http import FakeHttp, Fault, Received
from tests.servers.fake_influx import Reply, Reset
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import publish

FLOW = """
version: 1
flow: relay
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{broker}" }}
nodes:
  in: {{ type: mqtt_in, connection: broker, topics: ["in/+"] }}
  out: {{ type: mqtt_out, from: in, connection: broker, topic: "='out/' + topic" }}
  tell: {{ type: http_out, from: in, url: "http://127.0.0.1:{http}/tell", idempotency_key: true }}
"""
COUNT = 300


def faulty(server: FakeHttp) -> Any:
    """Return a judge that puts off some requests and loses the answers of others."""

    def judge(request: Received) -> Fault | None:
        if len(server.requests) % 90 == 30:
            return Reply(503, "", {"Retry-After": "0"})
        return Reset(after_commit=True) if len(server.requests) % 90 == 75 else None

    return judge


async def test_over_kills_restarts_and_faults_each_message_arrives_and_each_repeat_has_its_key(
    tmp_path: Path,
) -> None:
    async with (
        Mosquitto(tmp_path / "broker", persistence=True) as broker,
        FakeHttp() as server,
        running(
            {"url": f"mqtt://127.0.0.1:{broker.port}", "client_id": "there"}, {"there": {"topics": ["out/#"]}}
        ) as there,
        Flowrunner(tmp_path, checkpoint_every="200ms") as flowrunner,
    ):
        server.judge = faulty(server)
        flowrunner.write("relay.yaml", FLOW.format(broker=broker.port, http=server.port))
        await flowrunner.start()
        for part in range(3):
            ids = range(part * COUNT // 3, (part + 1) * COUNT // 3)
            await publish(broker.port, [(f"in/{number % 2}", str(number).encode()) for number in ids])
            await until(lambda: len(server.accepted) > 20, 20)
            if part == 0:
                flowrunner.kill()
                await flowrunner.start()
            elif part == 1:
                await broker.restart()
        everything = set(range(COUNT))
        await until(lambda: everything == {json.loads(each.body) for each in server.accepted}, 40)
        await until(lambda: everything == set(there["there"].payloads), 40)
        assert 0 == await flowrunner.stop()

    bodies: dict[str, set[bytes]] = {}
    for each in server.accepted:
        bodies.setdefault(each.headers["idempotency-key"], set()).add(each.body)
    assert {1} == {len(each) for each in bodies.values()}
    assert len(bodies) < len(server.accepted)
    assert COUNT <= len(bodies) < 2 * COUNT  # the broker sends again what was journaled and not acknowledged
