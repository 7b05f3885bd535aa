"""What a change of state costs from Home Assistant's socket to a line: ``python -m benchmarks.home_assistant``.

CPU of the receiving process: ``ha_in`` up to the journal, then decoding the record and encoding its line, in both
layouts; against ``websockets`` with nothing but ``recv`` and a JSON decoder for the same frames, in the same run. The
decoder is ``msgspec.json.decode``: orjson, which is as fast, is not among the dependencies. A scripted Home Assistant in
a process of its own prepares all frames before it sends the first, then sends as fast as they are taken: the waking up
for each frame that both have at a calm pace, and that brings them closer, is left out. The goal is a ratio of 3 at most
for events that come one by one; where several share a frame the bare client has next to nothing to do.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from flowrunner import Message, Record
from flowrunner_nodes._encoders import encoder
from flowrunner_nodes._point_options import PointOptions
from tests.nodes.ha_harness import running, until
from tests.servers.fake_home_assistant import TOKEN, Client, FakeHomeAssistant

ENTITIES = 200
COUNT = 20_000
ROUNDS = 5
WRITE_BYTES = 64 * 1024

PLAIN = {
    "measurement": "climate",
    "tags": {"sensor": "=topic"},
    "fields": {"value": "=number(payload.state)"},
}
LAYOUTS: dict[str, dict[str, Any]] = {"plain": PLAIN, "home_assistant": {"layout": "home_assistant"}}


class Form(NamedTuple):
    """How changes come."""

    name: str
    compressed: bool
    together: int
    """Events in a frame: several when Home Assistant has more to say than it can send at once."""


FORMS = [
    Form("compressed", compressed=True, together=1),
    Form("compressed, 20 a frame", compressed=True, together=20),
    Form("uncompressed", compressed=False, together=1),
    Form("uncompressed, 20 a frame", compressed=False, together=20),
]


class Cost(NamedTuple):
    """CPU microseconds an event."""

    bare: float
    reading: float
    lines: dict[str, float]


# The server, in a process of its own


class StormyHome(FakeHomeAssistant):
    """Sends changes as fast as they are taken when a client says ``storm``."""

    def __init__(self, *, compressed: bool) -> None:
        super().__init__()
        self.most_pending = COUNT * 2
        self.commits = False
        self._storms = set[asyncio.Task[None]]()
        if not compressed:
            self.missing.add("subscribe_entities")
        for number in range(ENTITIES):
            attributes = {
                "state_class": "measurement",
                "unit_of_measurement": "°C",
                "device_class": "temperature",
                "friendly_name": f"Room {number} Temperature",
            }
            self.set(f"sensor.room_{number}_temperature", "20.0", attributes)

    def _run(self, client: Client, number: int, command: dict[str, Any]) -> Any:
        if command["type"] != "storm":
            return super()._run(client, number, command)
        frames = self._prepare(client, command["together"])
        storm = asyncio.create_task(_blow(client, frames))
        self._storms.add(storm)
        storm.add_done_callback(self._storms.discard)
        return None

    def _prepare(self, client: Client, together: int) -> list[bytes]:
        """Return what the client is to get: the messages that it would get, without the way that they would take."""
        entities = itertools.cycle(list(self.states))
        for number in range(COUNT):
            self.set(next(entities), f"{20 + number % 977 / 100:.2f}")
        self.uncommitted.clear()
        messages, client.pending = client.pending, []
        texts = (
            json.dumps(list(part) if together > 1 else part[0])
            for part in itertools.batched(messages, together)
        )
        return [Frame(Opcode.TEXT, text.encode()).serialize(mask=False) for text in texts]


async def _blow(client: Client, frames: list[bytes]) -> None:
    await asyncio.sleep(0.1)  # the answer to the command goes first
    stream = b"".join(frames)
    for start in range(0, len(stream), WRITE_BYTES):
        client.socket.transport.write(stream[start : start + WRITE_BYTES])
        await client.socket.drain()


async def serve(*, compressed: bool) -> None:
    """Serve until killed."""
    async with StormyHome(compressed=compressed) as home:
        print(home.port, flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def home_assistant(form: Form) -> AsyncIterator[str]:
    """Run the server; yield its address."""
    arguments = ["-m", "benchmarks.home_assistant", "compressed" if form.compressed else "uncompressed"]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


# The clients


async def bare(address: str, form: Form) -> float:
    """Receive and decode, and forget."""
    subscription = (
        {"type": "subscribe_entities"}
        if form.compressed
        else {"type": "subscribe_events", "event_type": "state_changed"}
    )
    async with connect(f"ws://{address}/api/websocket", compression=None, max_size=None) as socket:
        await socket.send(json.dumps({"type": "auth", "access_token": TOKEN}))
        await socket.send(json.dumps({"id": 1, **subscription}))
        await socket.send(json.dumps({"id": 2, "type": "storm", "together": form.together}))
        while msgspec.json.decode(await socket.recv()).get("id") != 2:
            continue
        count, started = 0, time.process_time()
        while count < COUNT:
            message = msgspec.json.decode(await socket.recv(decode=False))
            count += len(message) if isinstance(message, list) else 1
        return _microseconds(started)


async def ours(address: str, form: Form) -> tuple[float, dict[str, float]]:
    """Receive with the node; return what that costs, and what the lines cost by layout."""
    async with running(None, {"a": {}}, url=f"http://{address}", token=TOKEN, compression="none") as flow:
        saved = flow["a"].saved
        await until(lambda: len(saved) == ENTITIES)
        session = await flow.connection.session()
        await session.call("storm", together=form.together)
        started = time.process_time()
        await until(lambda: len(saved) == ENTITIES + COUNT, 60)
        cost = _microseconds(started)
        decode = flow.nodes["a"].decode
    records = saved[ENTITIES:]
    assert all(decode(record.data)["old_state"] for record in records)
    return cost, {layout: line_cost(records, decode, layout) for layout in LAYOUTS}


def line_cost(records: list[Record], decode: Callable[[bytes], Any], layout: str) -> float:
    """Return what decoding and encoding cost."""
    line, encode = b"", encoder(PointOptions.model_validate({"type": "", **LAYOUTS[layout]}), "ns").line
    started = time.process_time()
    for record in records:
        message = Message(record.topic, decode(record.data), record.time or 0, record.meta)
        line = encode(message).encode()
    cost = _microseconds(started)
    assert b"value=" in line
    return cost


def _microseconds(started: float) -> float:
    return (time.process_time() - started) / COUNT * 1e6


async def measure(form: Form) -> Cost:
    """Measure all once, in turns, so that a busy machine is as busy for each."""
    gc.freeze()  # as `flowrunner run` does once it has started
    async with home_assistant(form) as address:
        floor = await bare(address, form)
        return Cost(floor, *await ours(address, form))


async def main() -> None:
    """Print a table."""
    print(f"CPU us an event, median of {ROUNDS}")
    print(f"{'':26}{'bare':>8}{'ha_in':>8}" + "".join(f"{layout:>28}" for layout in LAYOUTS))
    for form in FORMS:
        costs = [await measure(form) for _ in range(ROUNDS)]
        floor = statistics.median(cost.bare for cost in costs)
        reading = statistics.median(cost.reading for cost in costs)
        row = f"{form.name:26}{floor:8.2f}{reading:8.2f}"
        for layout in LAYOUTS:
            line = statistics.median(cost.lines[layout] for cost in costs)
            row += f"  +{line:5.2f} = {reading + line:6.2f}, ratio {(reading + line) / floor:4.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(serve(compressed=sys.argv[1] == "compressed"))
    else:
        asyncio.run(main())
