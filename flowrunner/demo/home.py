"""A simulated home of twenty sensors, as zigbee2mqtt would report them. A function of time and a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import msgspec

DAY = 86_400.0
ROOMS = (
    "attic",
    "bathroom",
    "bedroom",
    "cellar",
    "garden",
    "hall",
    "kitchen",
    "living_room",
    "office",
    "nursery",
)
DROP_OUT = 0.002
"""Chance a report that a sensor falls silent; it comes back after minutes."""
RESTART = 0.001
"""Chance a report that a sensor restarts: it then reports nonsense once, as real ones do."""
NONSENSE = 850.0


class Sensor(msgspec.Struct):
    """One device: what it measures around which value, and when it reports next."""

    name: str
    measures: str
    middle: float
    swing: float
    noise: float
    every: float
    due: float
    phase: float
    battery: float = 100.0


class Home:
    """Twenty sensors; ``step`` returns what they publish up to a moment."""

    def __init__(self, start: float, seed: int = 1) -> None:
        """``start`` is seconds since the epoch."""
        self._random = random.Random(seed)  # noqa: S311  # a simulation, not a secret
        self.sensors = [self._sensor(start, room, measures) for room in ROOMS for measures in _MEASURES]

    def step(self, now: float) -> Iterator[tuple[str, bytes]]:
        """Yield ``(topic, JSON)`` of all reports due up to ``now``, seconds since the epoch."""
        for sensor in self.sensors:
            while sensor.due <= now:
                at = sensor.due
                sensor.due += sensor.every * self._random.uniform(0.7, 1.3)
                if self._random.random() < DROP_OUT:
                    sensor.due += self._random.uniform(60, 300)
                yield f"zigbee2mqtt/{sensor.name}", msgspec.json.encode(self._report(sensor, at))

    def _sensor(self, start: float, room: str, measures: str) -> Sensor:
        middle, swing, noise, every = _MEASURES[measures]
        if room in ("attic", "cellar", "garden") and measures == "temperature":
            middle, swing = middle - 9.0, swing * 3
        return Sensor(
            name=f"{room}_{measures}",
            measures=measures,
            middle=middle + self._random.uniform(-1, 1) * swing / 2,
            swing=swing,
            noise=noise,
            every=every,
            due=start + self._random.uniform(0, every),
            phase=self._random.uniform(0, 0.1),
        )

    def _report(self, sensor: Sensor, at: float) -> dict[str, float]:
        wave = math.sin(2 * math.pi * (at / DAY - 0.3 + sensor.phase)) + 0.3 * math.sin(at / 170)
        value = sensor.middle + sensor.swing * wave + self._random.gauss(0, sensor.noise)
        if self._random.random() < RESTART:
            value = NONSENSE
        sensor.battery = max(0.0, sensor.battery - 0.0005)
        return {
            sensor.measures: round(value, 2),
            "battery": round(sensor.battery),
            "linkquality": self._random.randint(40, 255),
        }


_MEASURES = {"temperature": (20.5, 1.5, 0.05, 2.0), "humidity": (48.0, 8.0, 0.4, 3.0)}
"""Middle, swing over a day, noise, and seconds between two reports."""
