"""The keyed state of `aggregate`: what is kept of every key in every pane, and how panes make a window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from flowrunner import EVALUATION_ERRORS, Expression, Json, Message
from flowrunner_nodes._distributions import MOST_VALUES
from flowrunner_nodes._functions import Function, Scope
from flowrunner_nodes._keys import Key, UnfitError, to_key
from flowrunner_nodes._series import MOST_SAMPLES, Series

UNREADABLE: tuple[type[Exception], ...] = (UnfitError, *EVALUATION_ERRORS)
"""What reading a message and fitting the values may raise."""
ROOM = min(MOST_SAMPLES, MOST_VALUES)
"""Messages that every entry has room for."""


class Entry(msgspec.Struct, gc=False, array_like=True):
    """What is kept of one key in one pane."""

    topic: str
    """Of the last message, by event time."""
    time: int
    """Event time of that message."""
    count: int
    states: tuple[Any, ...]
    """One accumulator for each that the plan needs."""


class Pane(msgspec.Struct):
    """One pane with messages in it."""

    index: int
    start: int
    end: int
    closes: int
    """The flow clock at which its last window closes: from then on its messages are late."""
    entries: dict[Key, Entry]
    """By key, in the order in which the keys were first seen."""
    missed: frozenset[int] = frozenset()
    """Accumulators that do not know all messages, since a field was added while the pane had some."""


NO_PANE = Pane(0, 0, 0, 0, {})
"""A pane that no time is in."""


class Column(msgspec.Struct, frozen=True):
    """A value that is read from every message."""

    name: str
    """What needs it, for people: the key, or the first of the fields that do."""
    read: Callable[[Message], Any]
    fit: Callable[[Any], Any]
    """Returns the value as it is kept, or raises ``UnfitError``."""
    reason: Callable[[BaseException], str]

    def problem(self, message: Message) -> str | None:
        """Return why the value cannot be read from a message, or not be used."""
        try:
            self.fit(self.read(message))
        except UnfitError as error:
            return f"{self.name}: {error}"
        except EVALUATION_ERRORS as error:
            return f"{self.name}: {self.reason(error)}"
        return None


class Plan:
    """How fields are computed: each value is read once and each accumulator kept once, whoever needs it."""

    def __init__(self, key: Expression | None, functions: dict[str, Function]) -> None:
        self.key = (
            Column("`key`", key.function, to_key, key.reason) if key else Column("", _no_key, to_key, str)
        )
        self.columns: list[Column] = []
        self.makers: list[type[Any]] = []
        self.adders: list[tuple[Callable[[Any, Any, int], None], int, int]] = []
        """For each accumulator the function that adds to it, its number and its column."""
        self._fields: list[tuple[str, int, Function]] = []
        columns: dict[Any, int] = {}
        slots: dict[Any, int] = {}
        self.slots: list[str] = []
        """What each accumulator is of, as text: under other options it is found again by that."""
        for field, function in functions.items():
            slot, input = -1, function.input
            if input is not None:
                column = columns.setdefault((input.source, input.fit), len(columns))
                if column == len(self.columns):
                    self.columns.append(Column(f"field `{field}`", input.read, input.fit, input.reason))
                slot = slots.setdefault((input.accumulator, column), len(slots))
                if slot == len(self.makers):
                    self.makers.append(input.accumulator)
                    self.slots.append(f"{input.accumulator.__name__} {input.fit.__name__} {input.source}")
                    self.adders.append((input.accumulator.add, slot, column))
            self._fields.append((field, slot, function))
        self.reads = [column.read for column in self.columns]
        self._limited = [slot for slot, maker in enumerate(self.makers) if maker.limited]
        self._series = [slot for slot, maker in enumerate(self.makers) if issubclass(maker, Series)]

    def fitted(self, values: list[Any]) -> list[Any]:
        """Return the values of the columns as they are kept; raises ``UnfitError``."""
        return [column.fit(value) for column, value in zip(self.columns, values, strict=True)]

    def problem(self, message: Message) -> str:
        """Return why a message failed, by reading once more what it was read for."""
        problems = (column.problem(message) for column in (self.key, *self.columns))
        return next(problem for problem in problems if problem)

    @property
    def carries(self) -> bool:
        """Whether the last values of a window count in the next."""
        return bool(self._series)

    def new_entry(self, message: Message) -> Entry:
        """Return an entry for the first message of a key, which it does not hold yet."""
        return Entry(message.topic, message.time, 0, tuple([make() for make in self.makers]))

    def merged(self, entries: Iterable[Entry]) -> Entry:
        """Return a new entry with all that stands in ``entries`` of one key, in the order of their panes."""
        whole = Entry("", 0, 0, tuple([make() for make in self.makers]))
        for entry in entries:
            whole.topic, whole.time = entry.topic, entry.time
            whole.count += entry.count
            for state, later in zip(whole.states, entry.states, strict=True):
                state.merge(later)
        return whole

    def payload(
        self, entry: Entry, scope: Scope, carried: list[float | None] | None, missed: frozenset[int]
    ) -> dict[str, Json]:
        """Return the results for a window; ``carried`` are the :meth:`lasts` of the key before it.

        A field whose accumulator has ``missed`` messages of the window is null.
        """
        before = dict(zip(self._series, carried, strict=True)) if carried else {}
        return {
            field: None
            if slot in missed
            else function.finish(entry.states[slot] if slot >= 0 else None, scope, before.get(slot))
            for field, slot, function in self._fields
        }

    def lasts(self, entry: Entry) -> list[float | None]:
        """Return the last value of each series of a pane that will take in no more; null for one without any."""
        return [entry.states[slot].settled_last() for slot in self._series]

    def refusal(self, entry: Entry, values: list[Any], time: int) -> str | None:
        """Return why the entry has no room for a message, if so."""
        for slot in self._limited:
            column = self.adders[slot][2]
            reason: str | None = entry.states[slot].refusal(values[column], time)
            if reason is not None:
                return f"{self.columns[column].name}: {reason}"
        return None

    @property
    def series(self) -> list[str]:
        """What each of the :meth:`lasts` is of."""
        return [self.slots[slot] for slot in self._series]

    def restored(self, entries: dict[Any, Any], places: list[int]) -> dict[Key, Entry]:
        """Return the entries that were read back from a checkpoint; accumulators without a place begin empty."""
        known = [(place, maker) for place, maker in zip(places, self.makers, strict=True) if place >= 0]
        kinds = tuple[tuple(maker for _, maker in known)]  # type: ignore[misc, valid-type]  # a type for each
        found = {}
        for key, (topic, time, count, saved) in entries.items():
            states = iter(msgspec.convert([saved[place] for place, _ in known], kinds))
            whole = [
                next(states) if place >= 0 else make()
                for place, make in zip(places, self.makers, strict=True)
            ]
            found[key] = Entry(topic, time, count, tuple(whole))
        return found


def places(names: list[str], saved: list[str] | None) -> list[int]:
    """Return where each of ``names`` stands among the ``saved`` ones, by default the same; -1 for one that does not."""
    known = names if saved is None else saved
    return [known.index(name) if name in known else -1 for name in names]


def missing(where: list[int], missed: Iterable[int] = ()) -> frozenset[int]:
    """Return which accumulators have no place in what was saved, or had ``missed`` messages then already."""
    before = frozenset(missed)
    return frozenset(slot for slot, place in enumerate(where) if place < 0 or place in before)


def _no_key(message: Message) -> str:
    del message
    return ""
