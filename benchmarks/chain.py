"""Six transforms in the engine against a hand-written loop that does the same work.

Prints CPU nanoseconds a message, and ratios measured side by side: round for round, the median of the ratios.
Without the journal: a stage is given messages. With it: records go through the disk journal, are decoded, pass the
stage and end in a sink that throws them away; the hand-written loop then decodes JSON too.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._flows import CHAIN, START, Quiet, load_graph
from flowrunner import NANOSECONDS, Message, Record, SystemClock
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage

COUNT = 100_000
BATCH = 512
IN_FLIGHT = 4
"""Batches that the source has given to the journal and has not heard of: a busy source does not wait."""
ROUNDS = 7
KEYS = 100
WINDOW = 10 * NANOSECONDS


def payload(number: int) -> dict[str, Any]:
    """Return one reading."""
    return {
        "temperature": 20.0 + number % 50 / 10,
        "humidity": 40 + number % 7,
        "linkquality": 100,
        "battery": 97,
    }


def messages() -> list[Message]:
    """Return the readings as messages, a millisecond apart."""
    step = NANOSECONDS // 1000
    return [
        Message(f"home/{n % KEYS}", payload(n), START + n * step, clock=START + n * step, seq=n + 1)
        for n in range(COUNT)
    ]


class Hand:
    """The work of the six nodes, written out: the same messages, checks and windows, and no engine around them."""

    def __init__(self) -> None:
        self.opens: dict[str, int] = {}
        self.windows: dict[str, list[float]] = {}
        self.start = self.end = 0
        self.failed = self.filtered = self.late = self.results = 0

    def run(self, batch: list[Message]) -> None:
        opens, windows = self.opens, self.windows
        for m in batch:
            data = m.payload
            if not (data["temperature"] > -40.0 and data["temperature"] < 80.0):
                self.filtered += 1
                continue
            m = Message(
                m.topic, {"t": data["temperature"], "h": data["humidity"]}, m.time, m.meta, m.clock, m.seq
            )
            if not m.topic.startswith("home/"):
                self.filtered += 1
                continue
            clock = m.clock
            if clock < opens.get(m.topic, 0):
                self.filtered += 1
                continue
            opens[m.topic] = clock + 50_000_000
            m = Message(m.topic, {"x": m.payload["t"] * 1.8 + 32.0}, m.time, m.meta, m.clock, m.seq)
            if clock >= self.end:
                self.results += len(windows)
                windows.clear()
                self.start = m.time - m.time % WINDOW
                self.end = self.start + WINDOW
            if not self.start <= m.time < self.end:
                self.late += 1
                continue
            value = m.payload["x"]
            if type(value) is not float:
                self.failed += 1
                continue
            window = windows.get(m.topic)
            if window is None:
                windows[m.topic] = [1, value, value]
            else:
                window[0] += 1
                window[1] += value
                window[2] = max(window[2], value)


def without_journal(readings: list[Message]) -> Callable[[], float]:
    """Return a function that measures one round of the stage, in CPU nanoseconds a message."""
    graph = load_graph(CHAIN)

    async def work() -> float:
        settings = FlowSettings(state_dir=Path("unused"))
        runner = FlowRunner(
            graph, Storage("x", "memory", settings, SystemClock()), settings, SystemClock(), Quiet()
        )
        stage, outlet, ends = runner.assembly.pumped, runner.assembly.outlets["feed"], runner.assembly.ends[0]
        started = time.process_time()
        for position in range(0, COUNT, BATCH):
            batch = readings[position : position + BATCH]
            outlet.settle(batch)
            await stage.advance(batch[-1].clock)
            for target, _ in ends.channels:
                target.take()
        return (time.process_time() - started) / COUNT * 1e9

    return lambda: asyncio.run(work())


def with_journal(records: list[Record]) -> Callable[[], float]:
    """Return a function that measures one round of a whole flow with its journal on disk."""
    graph = load_graph(CHAIN)

    async def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            settings = FlowSettings(state_dir=Path(folder), checkpoint_every=1.0)
            storage = Storage("x", "journal", settings, SystemClock())
            await storage.open()
            runner = FlowRunner(graph, storage, settings, SystemClock(), Quiet())
            task = asyncio.create_task(runner.run())
            await runner.ready.wait()
            source = runner.assembly.sources["feed"].context
            started = time.process_time()
            flying: deque[asyncio.Future[None]] = deque()
            for position in range(0, COUNT, BATCH):
                if len(flying) == IN_FLIGHT:
                    await flying.popleft()
                flying.append(source.post(records[position : position + BATCH]))
            await runner.pump.drain()
            used = (time.process_time() - started) / COUNT * 1e9
            runner.stop(5.0)
            await task
            await storage.close()
            return used

    return lambda: asyncio.run(work())


def hand(readings: list[Message]) -> float:
    """Measure one round of the loop on messages."""
    loop = Hand()
    started = time.process_time()
    for position in range(0, COUNT, BATCH):
        loop.run(readings[position : position + BATCH])
    return (time.process_time() - started) / COUNT * 1e9


def hand_with_json(records: list[Record]) -> float:
    """Measure one round of decoding and the loop."""
    loop, decode = Hand(), msgspec.json.decode
    started = time.process_time()
    for position in range(0, COUNT, BATCH):
        batch = [
            Message(record.topic, decode(record.data), record.time or 0, record.meta, record.clock or 0)
            for record in records[position : position + BATCH]
        ]
        loop.run(batch)
    return (time.process_time() - started) / COUNT * 1e9


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float]) -> None:
    """Measure both in turn and print the median ratio."""
    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    ratio = statistics.median(mine / other for mine, other in pairs)
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name:28s} engine {mine:6.0f} ns/message   hand {other:6.0f} ns/message   ratio {ratio:.2f}")


def main() -> None:
    """Run both comparisons."""
    readings = messages()
    # The engine does this at its start: what is there for good is no work for the garbage collector.
    gc.collect()
    gc.freeze()
    records = [Record(msgspec.json.encode(m.payload), m.topic, m.time, clock=m.clock) for m in readings]
    compare("six nodes, no journal", without_journal(readings), lambda: hand(readings))
    compare("six nodes, disk journal", with_journal(records), lambda: hand_with_json(records))


if __name__ == "__main__":
    main()
