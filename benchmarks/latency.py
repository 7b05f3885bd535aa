"""Latency from a source to a sink through the journal on disk, at a thousand messages a second; and memory.

The sink does not batch: what is measured is the commit, the pump, the stage and the channel.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._flows import CHAIN, Quiet, load_graph
from flowrunner import Message, Record, SystemClock
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage

RATE = 1000
SECONDS = 10
FLOW = CHAIN.partition("  mean:\n")[0] + "  away: { type: bench_away, from: fahrenheit }\n"


async def measure(folder: Path) -> list[float]:
    """Return the latencies in milliseconds, sorted."""
    settings = FlowSettings(state_dir=folder, checkpoint_every=1.0)
    storage = Storage("chain", "journal", settings, SystemClock())
    await storage.open()
    runner = FlowRunner(load_graph(FLOW), storage, settings, SystemClock(), Quiet())
    loop = asyncio.get_running_loop()
    sent: dict[str, float] = {}
    seen: list[float] = []

    async def write(batch: Sequence[Message]) -> None:
        now = loop.time()
        seen.extend((now - sent[message.topic]) * 1000 for message in batch)

    sink: Any = runner.assembly.sinks["away"].node
    sink.write = write
    task = asyncio.create_task(runner.run())
    await runner.ready.wait()
    source = runner.assembly.sources["feed"].context
    started = loop.time()
    for number in range(RATE * SECONDS):
        await asyncio.sleep(started + number / RATE - loop.time())
        topic = f"home/{number}"
        sent[topic] = loop.time()
        body = msgspec.json.encode({"temperature": 21.5, "humidity": 48, "linkquality": 100, "battery": 97})
        source.post([Record(body, topic, clock=SystemClock().now())])
    await asyncio.sleep(0.5)
    runner.stop(5.0)
    await task
    await storage.close()
    return sorted(seen)


def main() -> None:
    """Print percentiles and the memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        latencies = asyncio.run(measure(Path(folder)))
    p50, p99 = statistics.median(latencies), latencies[int(len(latencies) * 0.99)]
    print(
        f"{len(latencies)} messages at {RATE}/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {latencies[-1]:.1f} ms"
    )
    memory = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    print("resident memory:", " ".join(memory.split()[1:]))


if __name__ == "__main__":
    main()
