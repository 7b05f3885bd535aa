"""What `aggregate` should give, computed the slow way from all messages at once."""

from __future__ import annotations

import cmath
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowrunner import Message

SECOND = 1_000_000_000


class Sample(NamedTuple):
    time: int
    arrival: int
    value: Any


class Setting(NamedTuple):
    """Windows of fixed length, in nanoseconds."""

    size: int
    every: int
    lateness: int
    carry_for: int = 7 * 86_400 * SECOND

    def starts(self, time: int) -> list[int]:
        last = time // self.every * self.every
        return [
            start
            for start in range(last, last - self.size - 1, -self.every)
            if start <= time < start + self.size
        ]


def area(samples: Sequence[Sample], start: int, end: int, carried: float | None) -> tuple[float, int]:
    points = [(sample.time, sample.value) for sample in samples]
    if carried is not None:
        points.insert(0, (start, carried))
    ends = [time for time, _ in points[1:]] + [end]
    return sum(
        value * (until - time) for (time, value), until in zip(points, ends, strict=True)
    ), end - points[0][0]


def growth(samples: Sequence[Sample], carried: float | None) -> float | None:
    readings = ([] if carried is None else [carried]) + [sample.value for sample in samples]
    steps = [b - a if b >= a else b for a, b in itertools.pairwise(readings)]
    return sum(steps) if steps else None


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    below = math.floor(q * (len(ordered) - 1))
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (q * (len(ordered) - 1) - below)


def circular(values: list[float]) -> float | None:
    total = sum(cmath.rect(1, math.radians(value)) for value in values)
    return None if abs(total) < 1e-9 * len(values) else math.degrees(cmath.phase(total)) % 360


def mode(samples: Sequence[Sample]) -> Any:
    counts = Counter(sample.value for sample in samples)
    return next(sample.value for sample in samples if counts[sample.value] == max(counts.values()))


def slope(samples: Sequence[Sample], unit: int) -> float | None:
    elapsed = samples[-1].time - samples[0].time
    return (samples[-1].value - samples[0].value) / elapsed * unit if elapsed else None


def rate(samples: Sequence[Sample], start: int, end: int, carried: float | None, unit: int) -> float | None:
    grown = growth(samples, carried)
    return None if grown is None else grown / ((end - start) / unit)


def of_values(function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    return lambda samples, *_: function([sample.value for sample in samples])


def held(samples: Sequence[Sample], start: int, end: int, carried: float | None, value: float) -> float:
    flags = [sample._replace(value=float(sample.value == value)) for sample in samples]
    return area(flags, start, end, None if carried is None else float(carried == value))[0] / SECOND


def weighted(samples: Sequence[Sample], start: int, end: int, carried: float | None) -> float:
    total, elapsed = area(samples, start, end, carried)
    return total / elapsed


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "count()": of_values(len),
    "sum(payload)": of_values(sum),
    "mean(payload)": of_values(statistics.fmean),
    "min(payload)": of_values(min),
    "max(payload)": of_values(max),
    "range(payload)": of_values(lambda values: max(values) - min(values)),
    "stddev(payload)": of_values(lambda values: statistics.stdev(values) if len(values) > 1 else None),
    "first(payload)": of_values(lambda values: values[0]),
    "last(payload)": of_values(lambda values: values[-1]),
    "median(payload)": of_values(statistics.median),
    "quantile(payload, 0.3)": of_values(lambda values: quantile(values, 0.3)),
    "quantile(payload, 1)": of_values(max),
    "mode(payload)": lambda samples, *_: mode(samples),
    "distinct(payload)": of_values(lambda values: len(set(values))),
    "circular_mean(payload)": of_values(circular),
    "time_weighted_mean(payload)": weighted,
    "integral(payload, '1m')": lambda *window: area(*window)[0] / (60 * SECOND),
    "derivative(payload, '1m')": lambda samples, *_: slope(samples, 60 * SECOND),
    "increase(payload)": lambda samples, start, end, carried: growth(samples, carried),
    "rate(payload, '1h')": lambda samples, start, end, carried: rate(
        samples, start, end, carried, 3_600 * SECOND
    ),
    "duration_in(payload, 2)": lambda samples, start, end, carried: held(samples, start, end, carried, 2),
}
"""By the call: its result for samples in order, the window, and the last value before it."""


class Expected(NamedTuple):
    results: list[tuple[int, int, str, dict[str, Any]]]
    """Start and clock of the window, key, fields; in the order in which they come."""
    late: list[Message]
    open: int
    """Messages in windows that have not closed."""


def expected(messages: Sequence[Message], setting: Setting, until: int) -> Expected:
    """Return what comes of messages, in order of arrival, when the flow clock ends at ``until``."""
    windows: dict[int, dict[str, list[Sample]]] = {}
    accepted: dict[str, list[Sample]] = {}
    late, open_ = [], 0
    for arrival, message in enumerate(messages):
        closing = {start: start + setting.size + setting.lateness for start in setting.starts(message.time)}
        if all(closes <= message.clock for closes in closing.values()):
            late.append(message)
            continue
        open_ += max(closing.values()) > until
        sample = Sample(message.time, arrival, message.payload)
        accepted.setdefault(message.topic, []).append(sample)
        for start, closes in closing.items():
            if closes > message.clock:
                windows.setdefault(start, {}).setdefault(message.topic, []).append(sample)
    results = []
    for start in sorted(windows):
        end = start + setting.size
        if end + setting.lateness <= until:
            for key in sorted(windows[start], key=lambda key: first_seen(windows[start][key], setting)):
                samples = sorted(windows[start][key])
                carried = carry(accepted[key], start, setting)
                fields = {
                    call: function(samples, start, end, carried) for call, function in FUNCTIONS.items()
                }
                results.append((start, end + setting.lateness, key, fields))
    return Expected(results, late, open_)


def pane_length(setting: Setting) -> int:
    return math.gcd(setting.size, setting.every)


def first_seen(samples: list[Sample], setting: Setting) -> tuple[int, int]:
    """Return what keys are ordered by: the earliest part of the window they came in, and when they did."""
    return min((sample.time // pane_length(setting), sample.arrival) for sample in samples)


def carry(accepted: list[Sample], start: int, setting: Setting) -> float | None:
    """Return the last value before a window, unless it is too old."""
    before = [sample for sample in accepted if sample.time < start]
    if not before:
        return None
    last = max(before)
    pane_end = (last.time // pane_length(setting) + 1) * pane_length(setting)
    value: float = last.value
    return value if start < pane_end + setting.carry_for else None
