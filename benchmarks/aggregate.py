"""`aggregate` and `throttle` against hand-written loops, the memory of a key, and the stall of a large window.

Times are CPU nanoseconds a message; ratios are measured side by side, round for round, and the median is printed.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import structlog

from flowrunner import NANOSECONDS, Context, Message, SystemClock, Transform
from flowrunner_nodes.aggregate import Aggregate
from flowrunner_nodes.throttle import Throttle

COUNT = 100_000
BATCH = 512
ROUNDS = 15
KEYS = 100
MINUTE = 60 * NANOSECONDS
INCREMENTAL = {"mean": "mean(payload.temperature)", "max": "max(payload.temperature)", "samples": "count()"}
WEIGHTED = {"mean": "time_weighted_mean(payload.temperature)"}


def build(cls: type[Transform[Any]], **options: Any) -> Transform[Any]:
    """Return a node with a context of its own."""
    config = cls.Config.model_validate({"type": "benchmark", "key": "topic", **options})
    return cls(config, Context("flow", "node", log=structlog.get_logger(), clock=SystemClock()))


def aggregate(fields: dict[str, str]) -> Transform[Any]:
    """Return an aggregate by the minute."""
    return build(Aggregate, window={"type": "tumbling", "size": "1m"}, fields=fields)


def messages() -> list[Message]:
    """Return ten minutes of readings."""
    step = 10 * MINUTE // COUNT
    return [
        Message(f"home/{n % KEYS}", {"temperature": 20.0 + n % 50 / 10}, n * step, clock=n * step, seq=n + 1)
        for n in range(COUNT)
    ]


class HandAggregate:
    """Count, mean and maximum of each key and minute, written out."""

    def __init__(self) -> None:
        self.windows: dict[str, list[float]] = {}
        self.end = MINUTE

    def on_batch(self, batch: list[Message]) -> list[Message]:
        """Take in messages; return the results of the minutes that end."""
        out: list[Message] = []
        windows = self.windows
        for message in batch:
            if message.time >= self.end:
                out += [
                    Message(
                        key, {"mean": state[1] / state[0], "max": state[2], "samples": state[0]}, self.end
                    )
                    for key, state in windows.items()
                ]
                windows.clear()
                self.end += MINUTE
            value = message.payload["temperature"]
            window = windows.get(message.topic)
            if window is None:
                windows[message.topic] = [1, value, value]
            else:
                window[0] += 1
                window[1] += value
                if value > window[2]:  # noqa: PLR1730  # as one would write it for speed
                    window[2] = value
        return out


class HandThrottle:
    """The first message of each key and ten seconds, written out."""

    def __init__(self) -> None:
        self.opens: dict[str, int] = {}

    def on_batch(self, batch: list[Message]) -> list[Message]:
        """Return the messages that pass."""
        out: list[Message] = []
        opens = self.opens
        for message in batch:
            if message.clock >= opens.get(message.topic, 0):
                opens[message.topic] = message.clock + 10 * NANOSECONDS
                out.append(message)
        return out


def measure(make: Callable[[], Any], readings: list[Message]) -> float:
    """Return the CPU nanoseconds a message of one round with a new node."""
    node = make()
    started = time.process_time()
    for position in range(0, COUNT, BATCH):
        node.on_batch(readings[position : position + BATCH])
    return (time.process_time() - started) / COUNT * 1e9


def compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], readings: list[Message]) -> None:
    """Measure both in turn and print the median ratio."""
    pairs = [(measure(ours, readings), measure(theirs, readings)) for _ in range(ROUNDS)]
    ratio = statistics.median(mine / other for mine, other in pairs)
    mine, other = (min(column) for column in zip(*pairs, strict=True))
    print(f"{name:32s} node {mine:6.0f} ns/message   hand {other:6.0f} ns/message   ratio {ratio:.2f}")


def bytes_of_a_key(fields: dict[str, str], keys: int = 50_000, samples: int = 6) -> float:
    """Return what one key costs, with six messages in its window; the text of the key is not ours."""
    topics = [f"home/{number}" for number in range(keys)]
    node = aggregate(fields)
    gc.collect()
    tracemalloc.start()
    for second in range(samples):
        moment = second * NANOSECONDS
        for position in range(0, keys, BATCH):
            node.on_batch(
                [
                    Message(topic, {"temperature": 20.5 + second}, moment, clock=moment)
                    for topic in topics[position : position + BATCH]
                ]
            )
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / keys


def longest_slice(keys: int = 200_000) -> tuple[float, float]:
    """Return the seconds that closing a window takes, and those of its longest slice of 1,024 results."""
    node = aggregate(INCREMENTAL)
    node.on_batch([Message(f"home/{number}", {"temperature": 20.5}, 0, clock=0) for number in range(keys)])
    gc.collect()
    gc.freeze()
    slices, done = [], False
    while not done:
        started = time.process_time()
        done = node.advance(2 * MINUTE, [], 1_024)
        slices.append(time.process_time() - started)
    gc.unfreeze()
    return sum(slices), max(slices)


def main() -> None:
    """Print all of it."""
    readings = messages()
    compare("count, mean, max by topic", lambda: aggregate(INCREMENTAL), HandAggregate, readings)
    compare("time-weighted mean by topic", lambda: aggregate(WEIGHTED), HandAggregate, readings)
    compare("throttle by topic", lambda: build(Throttle, every="10s"), HandThrottle, readings)
    for name, fields in (("count, mean, max", INCREMENTAL), ("time-weighted mean", WEIGHTED)):
        print(f"{name:32s} {bytes_of_a_key(fields):6.0f} bytes a key")
    total, longest = longest_slice()
    print(
        f"closing 200,000 keys             {total * 1e3:6.0f} ms in slices of 1,024, the longest {longest * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()
