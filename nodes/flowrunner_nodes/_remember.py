"""Caches of a bounded size, for texts that repeat from message to message."""

from __future__ import annotations

ENTRIES = 16_384
"""The most that one cache holds."""
LONGEST = 2_048
"""Characters of the longest text that is kept."""


def remember[K, V](cache: dict[K, V], key: K, value: V, characters: int) -> None:
    """Keep what is of an ordinary size, in place of the oldest entry when there are too many."""
    if characters <= LONGEST:
        if key not in cache and len(cache) >= ENTRIES:
            del cache[next(iter(cache))]
        cache[key] = value
