"""What receiving a message from a real Mosquitto costs, as ratios in one run: CPU of the receiving process.

``mqtt_in`` (with a journal that takes 2 ms a commit) against aiomqtt's iterator and against paho alone, which both
acknowledge before anybody has the message. A publisher in a process of its own sends as fast as the broker takes it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.nodes.mqtt_harness import running, until
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import publish

COUNT = {0: 30_000, 1: 10_000}
ROUNDS = 3
PAYLOAD = b'{"temperature": 21.53, "humidity": 48.1, "battery": 97, "linkquality": 120, "last_seen": "2026-03-01T10:00"}'

type Receive = Callable[[int, int, int], Awaitable[float]]
"""Port, QoS, number of messages → CPU microseconds a message."""


@asynccontextmanager
async def publishing(port: int, qos: int, count: int) -> AsyncIterator[None]:
    """Publish from another process meanwhile."""
    arguments = [sys.executable, __file__, str(port), str(qos), str(count)]
    process = await asyncio.create_subprocess_exec(*arguments)
    try:
        yield
    finally:
        await process.wait()


class Meter:
    """Measures from the first message to the last."""

    def __init__(self) -> None:
        self.count = 0
        self._started = time.process_time()

    def restart(self) -> None:
        self._started = time.process_time()

    def microseconds(self) -> float:
        return (time.process_time() - self._started) / self.count * 1e6


async def ours(port: int, qos: int, count: int) -> float:
    """Receive with the node."""
    options = {"url": f"mqtt://127.0.0.1:{port}", "client_id": "ours"}
    async with running(options, {"a": {"topics": ["bench/#"], "qos": qos}}) as flow:
        journal = flow["a"]
        journal.delay = 0.002
        meter = Meter()
        async with publishing(port, qos, count):
            await until(lambda: len(journal.saved) >= count, 60)
            meter.count = count
            return meter.microseconds()


async def by_aiomqtt(port: int, qos: int, count: int) -> float:
    """Receive with aiomqtt's iterator."""
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("bench/#", qos=qos)
        meter = Meter()
        async with publishing(port, qos, count):
            async for _ in client.messages:
                meter.count += 1
                if meter.count == count:
                    return meter.microseconds()
    raise AssertionError


async def by_paho(port: int, qos: int, count: int) -> float:
    """Receive with paho in its own thread."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    subscribed, done, meter = asyncio.Event(), asyncio.Event(), Meter()
    loop = asyncio.get_running_loop()

    def on_message(*_: object) -> None:
        meter.count += 1
        if meter.count == count:
            loop.call_soon_threadsafe(done.set)

    def on_subscribe(*_: object) -> None:
        loop.call_soon_threadsafe(subscribed.set)

    client.on_message = on_message
    client.on_subscribe = on_subscribe
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("bench/#", qos)
    await subscribed.wait()
    meter.restart()
    async with publishing(port, qos, count):
        await done.wait()
        cost = meter.microseconds()
    client.disconnect()
    client.loop_stop()
    return cost


async def main() -> None:
    """Print a table."""
    ways: dict[str, Receive] = {"mqtt_in": ours, "aiomqtt": by_aiomqtt, "paho": by_paho}
    print(
        f"CPU us a message, median of {ROUNDS}\n  QoS  "
        + "".join(f"{name:>10}" for name in ways)
        + "   ratio to mqtt_in"
    )
    for qos, count in COUNT.items():
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, receive in ways.items():
                with tempfile.TemporaryDirectory() as folder:
                    async with Mosquitto(Path(folder)) as broker:
                        costs[name].append(await receive(broker.port, qos, count))
        medians = [statistics.median(each) for each in costs.values()]
        ratios = "  ".join(
            f"{name} {median / medians[0]:.1f}" for name, median in zip(ways, medians, strict=True)
        )
        print(f"{qos:>5}  " + "".join(f"{median:>10.2f}" for median in medians) + "   " + ratios)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        port, qos, count = map(int, sys.argv[1:])
        messages = ((f"bench/{number % 1000}", PAYLOAD) for number in range(count))
        asyncio.run(publish(port, messages, qos=qos, window=500))
    else:
        asyncio.run(main())
