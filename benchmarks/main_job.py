"""The whole main job at saturation: MQTT QoS 0, JSON, filter, throttle, aggregate, line protocol, HTTP.

flowrunner (journal on disk included) and the straightforward version read the same messages from a real Mosquitto,
one after the other in one run, and write to the same sink. CPU is that of the process, user and system.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.process import Flowrunner
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import connect_packet, publish_packet

COUNT = 150_000
TOPICS = 1000
ROUNDS = 3

FLOW = """
version: 1
flow: climate
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{mqtt}" }}
  tsdb: {{ type: influxdb, url: "http://127.0.0.1:{http}", org: home, token: t }}
nodes:
  zigbee: {{ type: mqtt_in, connection: broker, topics: ["zigbee2mqtt/#"], qos: 0 }}
  valid:
    type: filter
    from: zigbee
    where: payload.temperature > -40.0 && payload.temperature < 80.0
  calm: {{ type: throttle, from: valid, key: topic, every: 10ms }}
  mean:
    type: aggregate
    from: calm
    key: topic
    window: {{ type: tumbling, size: 1s }}
    fields: {{ mean: mean(payload.temperature), max: max(payload.temperature), samples: count() }}
  store:
    type: influxdb_out
    from: mean
    connection: tsdb
    bucket: home
    measurement: climate
    tags: {{ sensor: =topic }}
"""


def accept(port: multiprocessing.Queue[int]) -> None:
    """Answer every POST with 204, in a process of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def publish(port: int) -> None:
    """Publish as fast as the broker reads."""
    body = {
        "temperature": 21.5,
        "humidity": 48.2,
        "battery": 97,
        "linkquality": 120,
        "voltage": 2990,
        "pad": "x" * 110,
    }
    with socket.create_connection(("127.0.0.1", port)) as broker:
        broker.sendall(connect_packet("publisher"))
        broker.recv(16)
        piece: list[bytes] = []
        for number in range(COUNT):
            body["temperature"] = 20 + number % 60 / 10
            topic = f"zigbee2mqtt/sensor{number % TOPICS}"
            piece.append(publish_packet(topic, json.dumps(body).encode(), qos=0))
            if len(piece) == 500:
                broker.sendall(b"".join(piece))
                piece.clear()
        time.sleep(0.5)


def cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid: int, received: Callable[[], int], mqtt: int) -> tuple[float, float, int]:
    """Publish, wait until nothing more comes; return CPU µs a message, messages a second, messages received."""
    before, started = cpu(pid), time.perf_counter()
    publisher = multiprocessing.Process(target=publish, args=(mqtt,))
    publisher.start()
    seen, changed = 0, started
    while not seen or time.perf_counter() - changed < 1.5:
        time.sleep(0.05)
        now = received()
        if now != seen:
            seen, changed = now, time.perf_counter()
    publisher.join()
    return (cpu(pid) - before) / max(1, seen) * 1e6, seen / (changed - started), seen


def ours(folder: Path, mqtt: int, http: int) -> tuple[float, float, int]:
    """Measure flowrunner."""
    flowrunner = Flowrunner(folder)
    flowrunner.write("climate.yaml", FLOW.format(mqtt=mqtt, http=http))
    asyncio.run(flowrunner.start())
    assert flowrunner.process is not None
    try:
        return measure(flowrunner.process.pid, lambda: int(flowrunner.ledger("climate")["received"]), mqtt)
    finally:
        asyncio.run(flowrunner.stop())


def theirs(mqtt: int, http: int) -> tuple[float, float, int]:
    """Measure the straightforward version."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._naive", str(mqtt), str(http)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    output = process.stdout.fileno()
    os.read(output, 100)
    os.set_blocking(output, False)
    last = 0

    def received() -> int:
        nonlocal last
        with contextlib.suppress(BlockingIOError):
            last = max([last, *map(int, os.read(output, 1 << 20).split())])
        return last

    try:
        return measure(process.pid, received, mqtt)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Run both in turn and print the medians."""
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    sink = multiprocessing.Process(target=accept, args=(ports,), daemon=True)
    sink.start()
    http = ports.get()
    mine, other = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder / "mosquitto")
        asyncio.run(broker.start())
        try:
            for number in range(ROUNDS):
                mine.append(ours(folder / f"ours{number}", broker.port, http))
                other.append(theirs(broker.port, http))
        finally:
            broker.stop()
            sink.kill()
    for label, rounds in (("flowrunner", mine), ("straightforward", other)):
        used, speed, seen = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"{label:16s} {used:6.1f} µs CPU/message   {speed:8.0f} messages/s   received {seen:.0f} of {COUNT}"
        )
    ratio = statistics.median(b[0] / a[0] for a, b in zip(mine, other, strict=True))
    print(f"{ratio:.1f} times fewer CPU seconds a message than the straightforward version")


if __name__ == "__main__":
    main()
