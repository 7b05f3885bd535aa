"""What an evaluation costs against a native lambda: ``python -m benchmarks.expression``; all ratios of one run."""

from __future__ import annotations

from collections.abc import Callable
from timeit import repeat, timeit
from typing import Any

from flowrunner import Expression, Message

MESSAGE = Message(
    "zigbee2mqtt/kitchen",
    {"temperature": 21.5, "state": "on", "humidity": 40, "list": list(range(10))},
    1_772_359_200_000_000_000,
)
CASES: dict[str, Callable[[Message], Any]] = {
    "payload.temperature > -40.0 && payload.temperature < 80.0": lambda m: (
        m.payload["temperature"] > -40.0 and m.payload["temperature"] < 80.0
    ),
    "payload.state == 'on'": lambda m: m.payload["state"] == "on",
    "payload.humidity == 1": lambda m: m.payload["humidity"] == 1,
    "topic": lambda m: m.topic,
    "{'temperature': payload.temperature}": lambda m: {"temperature": m.payload["temperature"]},
    "payload.temperature * 1.8 + 32.0": lambda m: m.payload["temperature"] * 1.8 + 32.0,
    "has(payload.temperature) && payload.temperature > 20.0": lambda m: (
        "temperature" in m.payload and m.payload["temperature"] > 20.0
    ),
    "round(payload.temperature, 1)": lambda m: round(m.payload["temperature"], 1),
    "default(payload.battery, 100)": lambda m: m.payload.get("battery", 100),
    "topic.startsWith('zigbee2mqtt/')": lambda m: m.topic.startswith("zigbee2mqtt/"),
    "payload.list.exists(x, x == 9)": lambda m: any(x == 9 for x in m.payload["list"]),
}


def _nanoseconds(*functions: Callable[[Message], Any]) -> list[float]:
    """Measure in turns, so that a busy machine is as busy for each."""
    number, rounds = 5_000, 40
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for place, function in enumerate(functions):
            best[place] = min(
                best[place], timeit("f(m)", globals={"f": function, "m": MESSAGE}, number=number)
            )
    return [seconds / number * 1e9 for seconds in best]


def main() -> None:
    """Print a line for each case."""
    for source, native in CASES.items():
        ours, theirs = _nanoseconds(Expression(source).function, native)
        print(f"{source:60} {ours:7.0f} ns, lambda {theirs:7.0f} ns, ratio {ours / theirs:5.2f}")
    seconds = min(repeat(lambda: Expression("payload.temperature > -40.0"), number=20, repeat=5)) / 20
    print(f"{'reading and compiling one expression':60} {seconds * 1e6:7.0f} µs")


if __name__ == "__main__":
    main()
