"""From states to records: what is wanted, what is new, what is only the noise of a restart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from flowrunner import Counters, Record
from flowrunner_nodes._ha_outbox import Outbox
from flowrunner_nodes._ha_registry import Registry, facts
from flowrunner_nodes._ha_seen import Cursor, Seen
from flowrunner_nodes._ha_selection import Selection
from flowrunner_nodes._ha_states import NO_VALUE, Change, State, written

HELD = 16_384
"""States that wait for the gap before them to be filled; beyond them the oldest are dropped and counted."""

MARGIN = 90_000_000
"""Microseconds before the last contact in which changes may have been missed: a dead connection is noticed late."""

type Origin = Literal["live", "resync", "history"]

_encode = msgspec.json.Encoder().encode


class Gap(msgspec.Struct):
    """What was missed of one entity, up to the state it had at the reconnect. Times are microseconds."""

    since: int
    """The time up to which its changes are known."""
    start: int
    """The time after which the history is looked at: earlier, by ``MARGIN``."""
    snapshot: State
    rows: list[State] = []
    """What the history has, without the snapshot."""
    held: list[State] = []
    """What came live since."""
    complete: bool = False
    """Whether the history has it all, which it has when it has the snapshot."""
    missing: int = 0
    """What cannot be filled, since it is too long ago."""


class Feed:
    """Decides for each state whether it becomes a record. Does no I/O and knows no clock."""

    def __init__(
        self,
        selection: Selection,
        registry: Registry,
        outbox: Outbox,
        cursor: Cursor,
        counters: Counters,
        *,
        keep_no_value: bool,
        keep_noise: bool,
    ) -> None:
        self.gaps: dict[str, Gap] = {}
        self.starting = False
        """Whether Home Assistant is still starting up."""
        self._selection = selection
        self._registry = registry
        self._outbox = outbox
        self._cursor = cursor
        self._counters = counters
        self._keep_no_value = keep_no_value
        self._keep_noise = keep_noise
        self._seen = cursor.seen()
        self._fresh: set[str] = set()
        self._held = 0
        self._metas: dict[tuple[str, Origin], tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def resync(self, snapshot: Iterable[Change], *, fill: bool) -> None:
        """Compare the present states with those taken last; with ``fill`` leave a gap where they differ."""
        self.gaps.clear()
        self._held = 0
        self._fresh = set(self._seen)
        contact = self._cursor.contact or 0
        for entity, state in sorted(
            snapshot, key=lambda change: 0 if change[1] is None else change[1].updated
        ):
            if state is None or not self._wants(entity, state):
                continue
            seen = self._seen.get(entity)
            if seen is None or not fill or seen.updated >= state.updated:
                self.offer(entity, state, "resync")
            else:
                since = min(max(seen.updated, contact), state.updated)
                start = max(seen.updated, min(contact - MARGIN, state.updated))
                self.gaps[entity] = Gap(since, start, state, [], [])

    def take(self, changes: Iterable[Change]) -> None:
        """Take what came live."""
        for entity, state in changes:
            if state is None:
                continue
            gap = self.gaps.get(entity)
            if gap is None:
                self.offer(entity, state, "live")
            elif self._held < HELD:
                self._held += 1
                gap.held.append(state)
            else:
                self._counters.received += 1
                self._counters.drop("buffer_full")

    def settle(self, entities: Iterable[str]) -> None:
        """Hand on, in time order, the states these entities had at the reconnect and what has come since."""
        states: list[tuple[State, str, Origin]] = []
        for entity in entities:
            gap = self.gaps.pop(entity)
            self._held -= len(gap.held)
            states.append((gap.snapshot, entity, "history" if gap.complete else "resync"))
            states += [(state, entity, "live") for state in gap.held]
        for state, entity, origin in sorted(states, key=lambda item: item[0].updated):
            self.offer(entity, state, origin)

    def offer(self, entity: str, state: State, origin: Origin) -> None:
        """Make a record of a state if it is wanted and new."""
        if not self._wants(entity, state):
            return
        seen = self._seen.get(entity)
        if seen is not None and seen.updated == state.updated:
            return
        if self._is_noise(entity, state, seen):
            self._counters.received += 1
            self._counters.filtered += 1
            known = (
                Seen(state.updated) if seen is None else msgspec.structs.replace(seen, updated=state.updated)
            )
            self._put(entity, known, None)
            return
        updated = written(state.updated)
        payload = {
            "entity_id": entity,
            "state": state.state,
            "attributes": state.attributes,
            "last_changed": updated if state.changed == state.updated else written(state.changed),
            "last_updated": updated,
            "old_state": None if seen is None else seen.state,
        }
        record = Record(_encode(payload), entity, state.updated * 1000, self._meta(entity, state, origin))
        # The same object, not merely an equal one: a difference without attributes leaves them as they are.
        digest = seen.digest if seen is not None and seen.attributes is state.attributes else None
        self._put(entity, Seen(state.updated, state.state, digest, state.attributes), record)

    def _put(self, entity: str, seen: Seen, record: Record | None) -> None:
        self._seen[entity] = seen
        self._outbox.put(record, (entity, seen))

    def _wants(self, entity: str, state: State) -> bool:
        return self._selection.takes(entity, state.attributes, self._registry.place(entity))

    def _is_noise(self, entity: str, state: State, seen: Seen | None) -> bool:
        if state.state in NO_VALUE:
            restarting = self.starting or state.attributes.get("restored") is True
            return not self._keep_no_value or (restarting and not self._keep_noise)
        if entity not in self._fresh:
            return False
        # The first value since the connect: a restarted Home Assistant writes all of them again.
        self._fresh.discard(entity)
        return not self._keep_noise and seen is not None and seen.same(state)

    def _meta(self, entity: str, state: State, origin: Origin) -> dict[str, Any]:
        version, get = self._registry.version, state.attributes.get
        basis = version, get("device_class"), get("unit_of_measurement"), get("friendly_name")
        known = self._metas.get((entity, origin))
        if known is None or known[0] != basis:
            known = self._metas[entity, origin] = basis, self._new_meta(entity, origin, *basis[1:])
        return known[1]

    def _new_meta(self, entity: str, origin: Origin, *described: Any) -> dict[str, Any]:
        domain, _, name = entity.partition(".")
        known = zip(("device_class", "unit", "name"), described, strict=True)
        return {
            "entity_id": entity,
            "domain": domain,
            "object_id": name,
            **{fact: value for fact, value in known if value is not None},
            **facts(self._registry.place(entity)),
            "origin": origin,
        }
