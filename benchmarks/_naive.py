"""The main job as one writes it first: aiomqtt's iterator, a queue and a task a node, Point, influxdb-client.

Started by ``benchmarks.main_job`` as a process of its own: arguments are the ports of broker and sink.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiomqtt
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.client.write.point import Point

QUEUE = 1000


async def main(mqtt: int, http: int) -> None:
    """Run until killed."""
    queues: list[asyncio.Queue[Any]] = [asyncio.Queue(QUEUE) for _ in range(5)]
    passed: dict[str, float] = {}
    windows: dict[str, list[float]] = {}
    state = {"end": time.time() + 1}  # noqa: TID251  # that is how it is done first

    def decode(message: aiomqtt.Message) -> Iterator[dict[str, Any]]:
        payload = json.loads(message.payload)
        yield {"topic": str(message.topic), "payload": payload, "time": time.time()}  # noqa: TID251

    def valid(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if -40.0 < message["payload"]["temperature"] < 80.0:
            yield message

    def calm(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if message["time"] >= passed.get(message["topic"], 0.0):
            passed[message["topic"]] = message["time"] + 0.01
            yield message

    def mean(message: dict[str, Any]) -> Iterator[Point]:
        if message["time"] >= state["end"]:
            for topic, (count, total, high) in windows.items():
                point: Any = Point("climate")  # type: ignore[no-untyped-call]
                point.tag("sensor", topic).field("mean", total / count)
                yield point.field("max", high).field("samples", count).time(int(state["end"] * 1e9))
            windows.clear()
            state["end"] += 1
        value = message["payload"]["temperature"]
        window = windows.setdefault(message["topic"], [0, 0.0, value])
        window[0] += 1
        window[1] += value
        window[2] = max(window[2], value)

    async def node(number: int, work: Callable[[Any], Iterator[Any]]) -> None:
        while True:
            for result in work(await queues[number].get()):
                await queues[number + 1].put(result)

    async def store(client: InfluxDBClientAsync) -> None:
        writer = client.write_api()
        while True:
            points = [await queues[4].get()]
            while not queues[4].empty() and len(points) < 5000:
                points.append(queues[4].get_nowait())
            await writer.write(bucket="home", record=points)

    async with (
        InfluxDBClientAsync(f"http://127.0.0.1:{http}", token="t", org="home", enable_gzip=True) as client,
        aiomqtt.Client("127.0.0.1", mqtt) as broker,
        asyncio.TaskGroup() as group,
    ):
        steps: list[Callable[[Any], Iterator[Any]]] = [decode, valid, calm, mean]
        for number, work in enumerate(steps):
            group.create_task(node(number, work))
        group.create_task(store(client))
        await broker.subscribe("zigbee2mqtt/#", qos=0)
        print("ready", flush=True)
        received = 0
        async for message in broker.messages:
            received += 1
            if received % 1000 == 0:
                sys.stdout.write(f"{received}\n")
                sys.stdout.flush()
            await queues[0].put(message)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
