"""A mapping that forgets what has not been written for a time, however many keys there are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import batched
from typing import Any

from flowrunner import NEVER

PIECE = 64
"""Keys in a piece of a snapshot: few, since a key may hold much."""


class FadingDict[K, V]:
    """Keep each entry for at least ``span`` nanoseconds after it was written, and at most twice as long.

    Entries stand in two generations; a write after ``span`` begins a new one and drops the older as a whole. A write
    to a full generation does so early. Reading changes nothing, so what is found depends on the writes alone.
    """

    def __init__(self, span: int, capacity: int = NEVER) -> None:
        self._span = span
        self._capacity = capacity
        self.ends = 0
        """When the young generation grows old: a write from then on calls ``turn`` first."""
        self.young: dict[K, V] = {}
        self.old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value last written to ``key``, ``None`` when there is none or it has faded."""
        value = self.young.get(key)
        return self.old.get(key) if value is None else value

    def set(self, key: K, value: V, *, now: int) -> None:
        """Write a value, which is not ``None``; ``now`` never goes back."""
        if now >= self.ends or len(self.young) >= self._capacity:
            self.turn(now)
        self.young[key] = value

    def turn(self, now: int) -> None:
        """Begin a new generation; the young one is the old one from now on, unless it has faded too."""
        self.old = self.young if now < self.ends + self._span else {}
        self.young = {}
        self.ends = now + self._span

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def snapshot(self) -> Iterator[list[Any]]:
        """Return the state in pieces that msgpack can write, each in the form of the whole."""
        yield [self.ends, {}, {}]
        for piece in batched(self.young.items(), PIECE):
            yield [self.ends, dict(piece), {}]
        for piece in batched(self.old.items(), PIECE):
            yield [self.ends, {}, dict(piece)]

    def restore(self, piece: list[Any]) -> None:
        """Add a piece that ``snapshot`` returned."""
        self.ends, young, old = piece
        self.young.update(young)
        self.old.update(old)
