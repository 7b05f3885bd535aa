"""A mapping that forgets what has not been written for a time, however many keys there are."""

from __future__ import annotations

from typing import Any

from flowrunner import NEVER


class FadingDict[K, V]:
    """Keep each entry for at least ``span`` nanoseconds after it was written, and at most twice as long.

    Entries stand in two generations; a write after ``span`` begins a new one and drops the older as a whole. A write
    to a full generation does so early. Reading changes nothing, so what is found depends on the writes alone.
    """

    def __init__(self, span: int, capacity: int = NEVER) -> None:
        self._span = span
        self._capacity = capacity
        self._ends = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value last written to ``key``, ``None`` when there is none or it has faded."""
        value = self._young.get(key)
        return self._old.get(key) if value is None else value

    def set(self, key: K, value: V, *, now: int) -> None:
        """Write a value, which is not ``None``; ``now`` never goes back."""
        if now >= self._ends or len(self._young) >= self._capacity:
            self._old = self._young if now < self._ends + self._span else {}
            self._young = {}
            self._ends = now + self._span
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def snapshot(self) -> list[Any]:
        """Return the state as values that msgpack can write."""
        return [self._ends, self._young, self._old]

    def restore(self, state: list[Any]) -> None:
        """Take up a state that ``snapshot`` returned."""
        self._ends, self._young, self._old = state
