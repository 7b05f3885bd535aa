"""What a line costs against a plain f-string and influxdb-client's Point: ``python -m benchmarks.line_protocol``.

All ratios are of one run; the f-string does no escaping, no checks and no sorting: it is the floor.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from time import process_time
from timeit import timeit
from typing import Any

from influxdb_client.client.write.point import Point
from isal import igzip

from flowrunner import Message
from flowrunner_nodes._line_protocol import LineEncoder
from flowrunner_nodes._point_options import PointOptions

TIME = 1_772_359_200_000_000_000
PAYLOADS: dict[str, dict[str, Any]] = {
    "three short floats": {"mean": 21.5, "max": 22.0, "min": 20.5},
    "three long floats": {"mean": 21.123456789012, "max": 22.345678901234, "min": 20.012345678901},
    "int, bool, float": {"battery": 97, "occupied": True, "temperature": 21.5},
    "with a string": {"battery": 97, "state": "ON", "temperature": 21.5},
    "nested": {"battery": 97, "color": {"x": 0.31, "y": 0.32}, "temperature": 21.5},
}


def _encoder() -> Callable[[Message], str]:
    given = {"type": "", "measurement": "climate", "tags": {"sensor": "=topic"}}
    return LineEncoder(PointOptions.model_validate(given), "ns").line


def _fstring(message: Message) -> str:
    fields = ",".join([f"{name}={value!r}" for name, value in message.payload.items()])
    return f"climate,sensor={message.topic} {fields} {message.time}"


def _point(message: Message) -> str:
    point: Any = Point
    written = point("climate").tag("sensor", message.topic).time(message.time)
    for name, value in message.payload.items():
        if isinstance(value, dict):
            for inner, part in value.items():
                written.field(f"{name}_{inner}", part)
        else:
            written.field(name, float(value) if type(value) is int else value)
    line: str = written.to_line_protocol()
    return line


def _nanoseconds(message: Message, *functions: Callable[[Message], Any]) -> list[float]:
    """Measure in turns, so that a busy machine is as busy for each."""
    number, rounds = 1_000, 30
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for place, function in enumerate(functions):
            took = timeit("f(m)", timer=process_time, globals={"f": function, "m": message}, number=number)
            best[place] = min(best[place], took)
    return [seconds / number * 1e9 for seconds in best]


def main() -> None:
    """Print a line for each payload, then what compressing a line costs."""
    encode = _encoder()
    for name, payload in PAYLOADS.items():
        message = Message("zigbee2mqtt/kitchen", payload, TIME)
        ours, floor, point = _nanoseconds(message, encode, _fstring, _point)
        print(
            f"{name:20} {ours:6.0f} ns, f-string {floor:6.0f} ns (ratio {ours / floor:.1f}), "
            f"Point {point:6.0f} ns (ratio {point / ours:.1f})"
        )
    messages = [Message(f"s{i % 50}", {"value": i / 7}, TIME + i * 10**9) for i in range(5_000)]
    body = "\n".join(map(encode, messages)).encode()
    for name, pack in (("isal, level 1", igzip.compress), ("zlib, level 6", gzip.compress)):
        level = 1 if "isal" in name else 6
        seconds = min(timeit(lambda: pack(body, level), number=1) for _ in range(5))  # noqa: B023
        print(
            f"{name:20} {seconds / 5_000 * 1e9:6.0f} ns a line, {len(body) / len(pack(body, level)):.1f} : 1"
        )


if __name__ == "__main__":
    main()
