"""States as Home Assistant sends them, in its three notations, to one form: compressed, of an event, of the history."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

NO_VALUE = frozenset({"unavailable", "unknown"})
"""States that say that there is no value."""


class State(msgspec.Struct, frozen=True, gc=False):
    """The state of an entity; times are microseconds since the epoch, which is what Home Assistant keeps.

    ``gc=False``, here and below, is safe because JSON makes no reference cycles.
    """

    state: str
    attributes: dict[str, Any]
    changed: int
    updated: int


type Change = tuple[str, State | None]
"""An entity's id and its new state, ``None`` when it was removed."""


class Compressed(msgspec.Struct, gc=False):
    """A state or the difference of two: ``lc`` without ``lu`` stands for both, ``lu`` alone leaves ``lc`` as it is."""

    s: str | None = None
    a: dict[str, Any] | None = None
    lc: float | None = None
    lu: float | None = None


class _Removals(msgspec.Struct, gc=False):
    a: list[str] = []


class _Difference(msgspec.Struct, gc=False, rename={"added": "+", "removed": "-"}):
    added: Compressed = msgspec.field(default_factory=Compressed)
    removed: _Removals | None = None


class _Entities(msgspec.Struct, gc=False):
    a: dict[str, Compressed] = {}
    c: dict[str, _Difference] = {}
    r: list[str] = []


class Written(msgspec.Struct, gc=False):
    """A state written out, as ``get_states`` and ``state_changed`` have it."""

    entity_id: str
    state: str
    last_changed: str
    last_updated: str
    attributes: dict[str, Any] = {}


class _StateChanged(msgspec.Struct, gc=False):
    entity_id: str
    new_state: Written | None = None


class _Event(msgspec.Struct, gc=False):
    data: _StateChanged


_ENTITIES = msgspec.json.Decoder(_Entities)
_EVENT = msgspec.json.Decoder(_Event)
_WRITTEN = msgspec.json.Decoder(list[Written])
_HISTORY = msgspec.json.Decoder(dict[str, list[Compressed]])


class Mirror:
    """The states that Home Assistant has, kept up with the differences that ``subscribe_entities`` sends."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}

    def apply(self, raw: msgspec.Raw) -> list[Change]:
        """Return what an event of ``subscribe_entities`` says, in its order."""
        event, states = _ENTITIES.decode(raw), self._states
        changes: list[Change] = []
        for entity, added in event.a.items():
            states[entity] = state = _expand(added)
            changes.append((entity, state))
        for entity, difference in event.c.items():
            states[entity] = state = self._merge(entity, difference)
            changes.append((entity, state))
        for entity in event.r:
            states.pop(entity, None)
            changes.append((entity, None))
        return changes

    def _merge(self, entity: str, difference: _Difference) -> State:
        old, new = self._states.get(entity), difference.added
        if old is None:
            return _expand(new)
        attributes = old.attributes
        if new.a or difference.removed:
            attributes = {**attributes, **(new.a or {})}
            for name in difference.removed.a if difference.removed else ():
                attributes.pop(name, None)
        if new.lc is not None:
            changed = micros(new.lc)
            updated = changed if new.lu is None else micros(new.lu)
        else:
            changed = old.changed
            updated = old.updated if new.lu is None else micros(new.lu)
        return State(old.state if new.s is None else new.s, attributes, changed, updated)


def read_event(raw: msgspec.Raw) -> list[Change]:
    """Return what an event ``state_changed`` says."""
    data = _EVENT.decode(raw).data
    return [(data.entity_id, None if data.new_state is None else read_written(data.new_state))]


def read_states(raw: msgspec.Raw) -> list[Change]:
    """Return the states that ``get_states`` answered."""
    return [(state.entity_id, read_written(state)) for state in _WRITTEN.decode(raw)]


def read_history(raw: msgspec.Raw) -> Iterator[tuple[str, State]]:
    """Yield the rows that ``history/history_during_period`` answered, each entity's in time order."""
    for entity, rows in _HISTORY.decode(raw).items():
        for row in rows:
            yield entity, _expand(row)


def read_written(state: Written) -> State:
    """Return a written-out state in our form."""
    changed = micros_of(state.last_changed)
    same = state.last_updated == state.last_changed
    return State(state.state, state.attributes, changed, changed if same else micros_of(state.last_updated))


def _expand(state: Compressed) -> State:
    """Return a whole compressed state. The history leaves out ``lc`` where it equals ``lu``, the others ``lu``."""
    updated = state.lc if state.lu is None else state.lu
    changed = state.lu if state.lc is None else state.lc
    return State(state.s or "", state.a or {}, micros(changed or 0.0), micros(updated or 0.0))


def micros(seconds: float) -> int:
    """Return seconds as whole microseconds, rounded as Home Assistant does it for its own `last_updated`.

    The float is finer than a microsecond: ``round(seconds * 1e6)`` is another number for one time of eight.
    """
    fraction, whole = math.modf(seconds)
    return int(whole) * 1_000_000 + round(fraction * 1e6)


def micros_of(text: str) -> int:
    """Return the microseconds of an ISO time."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


def written(microseconds: int) -> str:
    """Return a time as Home Assistant writes it."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = _whole_seconds(seconds)
    return f"{text}.{fraction:06}+00:00" if fraction else f"{text}+00:00"


@lru_cache(64)
def _whole_seconds(seconds: int) -> str:
    """Return what most times of a moment begin with."""
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
