"""What tracing costs: CPU with a collector that takes everything, at the default sampling, against none.

One flow is fed by turns with tracing and without; the ratio is that of the lower quartiles. Batches of one record, as at a
home, and large ones. Spans are encoded and sent over HTTP to a receiver in another process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from benchmarks._flows import Quiet, load_graph
from flowrunner import Record, SystemClock
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.tracing.tracing import Tracing, start_tracing

TURNS = 24
SECONDS = 0.5
"""One turn: with and without tracing take turns, so that both see the same machine."""
SIZES = (1, 50)
"""Records in a batch."""
FLOW = """
version: 1
flow: traced
delivery: memory
nodes:
  feed: { type: bench_live }
  valid: { type: filter, from: feed, where: payload.temperature > -40.0 && payload.temperature < 80.0 }
  small: { type: map, from: valid, set: { payload: "={'t': payload.temperature}" } }
  mean:
    type: aggregate
    from: small
    key: topic
    window: { type: tumbling, size: 1s }
    fields: { n: count(), mean: mean(payload.t) }
  away: { type: bench_away, from: mean }
"""


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def collect(port: Any) -> None:
    """Take everything, for ever."""
    server = HTTPServer(("127.0.0.1", 0), _Taking)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def collector() -> Iterator[str]:
    """Run a receiver in a process of its own and give its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=collect, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()


async def loads(tracing: Tracing, size: int) -> dict[bool, list[float]]:
    """Return the CPU of a batch in each turn, of those with tracing and of those without.

    The journal is in memory: one on disk would only make the share of tracing smaller.
    """
    graph, clock = load_graph(FLOW), SystemClock()
    settings = FlowSettings(state_dir=Path("unused"), checkpoint_every=0.2, tracing=tracing)
    storage = Storage(graph.name, graph.delivery, settings, clock)
    await storage.open()
    runner = FlowRunner(graph, storage, settings, clock, Quiet())
    task = asyncio.create_task(runner.run())
    await runner.ready.wait()
    found: dict[bool, list[float]] = {True: [], False: []}
    await turn(runner, size)
    for number in range(TURNS):
        on = number % 4 in (1, 2)  # off, on, on, off: what changes slowly hits both alike
        runner.assembly.trace(storage.traces if on else None)
        found[on].append(await turn(runner, size))
    runner.stop(10.0)
    await task
    await storage.close()
    return found


async def turn(runner: FlowRunner, size: int) -> float:
    """Return the seconds of CPU for some batches, from the source to the acknowledgement."""
    feed = runner.assembly.sources["feed"].context
    records = [Record(b'{"temperature": 21.5, "humidity": 40}', f"home/{n % 50}") for n in range(size)]
    before, ends = time.process_time(), time.monotonic() + SECONDS
    batches = 0
    while time.monotonic() < ends:
        await feed.emit_records(records)
        batches += 1
    await runner.pump.drain()
    return (time.process_time() - before) / batches


def main() -> None:
    """Print the ratios."""
    with collector() as url:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
        tracing = start_tracing(os.environ, SystemClock(), Quiet(), version="0", instance="bench")
        assert tracing is not None
        for size in SIZES:
            found = asyncio.run(loads(tracing, size))
            # The lower quartile: others on the machine make a turn slower, and none makes it faster.
            on, off = (statistics.quantiles(found[which])[0] for which in (True, False))
            print(
                f"batches of {size}: {off * 1e6:.0f} us of CPU each; with tracing / without = {on / off:.3f}"
            )
        tracing.close()
        print(f"spans: {dict(tracing.counts)}")


if __name__ == "__main__":
    main()
