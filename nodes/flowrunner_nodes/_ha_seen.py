"""What was last taken of each entity: in memory with its attributes, in the cursor as a digest."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from flowrunner_nodes._ha_states import State

LIMIT = 20_000
"""Entities that are remembered; beyond them those that have been silent longest are forgotten."""
_VERSION = 1


class Seen(msgspec.Struct, gc=False):
    """The last value of an entity that was taken, and the time up to which it is known (microseconds)."""

    updated: int
    state: str | None = None
    digest: int | None = None
    attributes: dict[str, Any] | None = None

    def same(self, state: State) -> bool:
        """Whether a state has the value that was taken last."""
        if self.state != state.state:
            return False
        if self.attributes is not None:
            return self.attributes == state.attributes
        return self.digest == digest_of(state.attributes)

    def row(self) -> list[Any]:
        """Return it for the cursor."""
        if self.digest is None and self.attributes is not None:
            self.digest = digest_of(self.attributes)
        return [self.updated, self.state, self.digest]


type Mark = tuple[str, Seen] | int
"""What the cursor is to say: an entity as it was taken, or a moment up to which nothing was missed."""


def digest_of(attributes: dict[str, Any]) -> int:
    """Return 63 bits of the attributes, whatever their order."""
    text = msgspec.json.encode(attributes, order="deterministic")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


class Cursor:
    """What the journal keeps for a source: up to where each entity was journaled.

    ``contact`` is the time (of Home Assistant's clock, microseconds) up to which nothing can have been missed.
    """

    def __init__(self, saved: Any) -> None:
        valid = isinstance(saved, dict) and saved.get("version") == _VERSION
        self.contact: int | None = saved["contact"] if valid else None
        self._rows: dict[str, list[Any]] = saved["entities"] if valid else {}
        self._changed: dict[str, Seen] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def seen(self) -> dict[str, Seen]:
        """Return what was taken of each entity."""
        return {entity: Seen(*row) for entity, row in self._rows.items()}

    def note(self, mark: Mark) -> None:
        """Note what is journaled next."""
        if isinstance(mark, int):
            self.contact = max(mark, self.contact or 0)
        else:
            entity, seen = mark
            self._changed[entity] = seen

    def value(self) -> dict[str, Any]:
        """Return it as it is committed."""
        rows = self._rows
        for entity, seen in self._changed.items():
            rows[entity] = seen.row()
        self._changed.clear()
        if len(rows) > LIMIT:
            latest = sorted(rows.items(), key=lambda item: item[1][0], reverse=True)
            self._rows = rows = dict(latest[: LIMIT * 9 // 10])
        return {"version": _VERSION, "contact": self.contact, "entities": rows}
