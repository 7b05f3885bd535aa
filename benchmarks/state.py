"""How long the event loop stands still while a node with a million keys is saved, restored and fires.

Each is done as the engine does it, in slices, and in one go beside it. A stall is the CPU time of the loop's thread
between two turns of a task that always wants its turn: what other programs do meanwhile does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks._flows import Quiet
from flowrunner import NANOSECONDS, Context, Message, SystemClock, Transform
from flowrunner.runtime.checkpoints.state import Chunks, dump_state, load_state
from flowrunner.runtime.checkpoints.store import Checkpoint, DiskStore
from flowrunner.runtime.stage import Outlet, Stage, Step
from flowrunner_nodes.aggregate import Aggregate
from flowrunner_nodes.throttle import Throttle

LONG_AFTER = 3_600 * NANOSECONDS
SHAPES: dict[str, tuple[type[Transform[Any]], dict[str, Any]]] = {
    "aggregate": (
        Aggregate,
        {"window": {"type": "tumbling", "size": "1m"}, "fields": {"mean": "mean(payload.x)", "n": "count()"}},
    ),
    "throttle first": (Throttle, {"every": "1m"}),
    "throttle last": (Throttle, {"every": "1m", "emit": "last"}),
}


class Stalls:
    """The longest and the total time that work has kept the loop's thread busy between two turns."""

    def __init__(self) -> None:
        self.longest = self.total = 0.0
        self.turns = 0

    async def watch(self) -> None:
        """Take every turn of the loop, until cancelled."""
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            busy = time.thread_time() - before
            self.longest = max(self.longest, busy)
            self.total += busy
            self.turns += 1


async def measure[T](name: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work while the loop is watched, and print what it cost."""
    gc.collect()
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch())
    await asyncio.sleep(0)
    started = time.perf_counter()
    result = await work()
    elapsed = time.perf_counter() - started
    await asyncio.sleep(0)
    watching.cancel()
    print(f"  {name:30s} longest stall {stalls.longest * 1e3:8.1f} ms   {elapsed * 1e3:8.0f} ms in all")
    return result


def new_step(shape: str) -> Step:
    """Return a node with a context of its own, in a stage's hands."""
    cls, options = SHAPES[shape]
    config = cls.Config.model_validate({"type": "benchmark", "key": "topic", **options})
    context = Context("flow", "node", log=Quiet(), clock=SystemClock())
    return Step(cls(config, context), Outlet(context, {}, lambda *_: None))


def fill(step: Step, keys: int) -> None:
    """Give the node one message for each key, a microsecond apart."""
    for first in range(0, keys, 1024):
        numbers = range(first, min(first + 1024, keys))
        batch = [Message(f"home/{n}", {"x": 20.5}, n * 1000, clock=n * 1000 + 1, seq=n + 1) for n in numbers]
        step.counters.received += len(batch)
        step.outlet.settle(step.node.on_batch(batch))


def pieces(state: Any) -> Iterable[Any]:
    """Return a state at once, as the engine did before states had pieces."""
    return list(state)


async def in_one_go(work: Callable[[], Any]) -> Any:
    """Do the work without letting anybody else have a turn."""
    return work()


async def save(chunks: Chunks) -> None:
    """Write a checkpoint to a file."""
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(Path(folder) / "state.db", SystemClock())
        await store.open()
        await store.save(Checkpoint(1, 1, {"node": chunks}, {}, {}, {}, 1), [])
        await store.load()
        await store.close()


async def compare(shape: str, keys: int) -> None:
    """Print all numbers of one node type."""
    print(f"{shape}, {keys:,} keys")
    step = new_step(shape)
    fill(step, keys)
    await measure(
        "snapshot in one go",
        lambda: in_one_go(lambda: [pieces(step.node.snapshot()), pieces(step.timers.snapshot())]),
    )
    chunks = await measure("snapshot", lambda: dump_state(step.node, step.timers))
    print(f"  {'':30s} {sum(map(len, chunks)) / 2**20:8.0f} MiB in {len(chunks)} chunks")
    await measure("save and load", lambda: save(chunks))
    other = new_step(shape)
    await measure("restore", lambda: load_state(other.node, other.timers, chunks, 1))
    if len(step.timers):
        await measure("fire in one go", lambda: in_one_go(lambda: step.node.advance(LONG_AFTER, [])))
        await measure("fire", lambda: Stage([other]).advance(LONG_AFTER))
    print(f"  {'':30s} accounted for: {other.counters.balance() == 0 or step.counters.balance() == 0}")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    arguments = parser.parse_args()
    gc.freeze()
    for shape in SHAPES:
        asyncio.run(compare(shape, arguments.keys))


if __name__ == "__main__":
    main()
