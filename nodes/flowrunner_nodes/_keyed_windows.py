"""The open windows of `aggregate`: which panes there are, when windows close, and what comes out of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import batched, chain
from typing import TYPE_CHECKING, Any, cast

from flowrunner import NANOSECONDS, NEVER, Context, Message, MessageError
from flowrunner_nodes._fading import PIECE, FadingDict
from flowrunner_nodes._functions import Scope
from flowrunner_nodes._keys import Key, key_value
from flowrunner_nodes._layout import DAY, Layout
from flowrunner_nodes._panes import Entry, Pane, Plan, missing, places
from flowrunner_nodes._windows import lay_out

if TYPE_CHECKING:
    from flowrunner_nodes.aggregate import Config


class KeyedWindows:
    """Panes with their keyed state, and the timer that closes the next window.

    A window closes when the flow clock reaches its end and the allowed lateness. Of the windows that a pane is in,
    only the next to close has a timer; closing it sets that of the one after. While the results of a window come out
    in slices its timer stays due, so nothing can be added in between.
    """

    def __init__(self, config: Config, plan: Plan, context: Context) -> None:
        self._config = config
        self._plan = plan
        self._layout: Layout = lay_out(config.window)
        self._timers = context.timers
        self._counters = context.counters
        self._panes: dict[int, Pane] = {}
        self._entries = 0
        self._carried: FadingDict[Key, list[Any]] = FadingDict(
            config.carry_for + config.window.size + DAY, config.max_keys
        )
        """By key: the window start from which on it no longer counts, and the last values."""
        self._remaining: list[Key] | None = None
        """The keys, last first, whose results of the window that is closing are still to come."""

    def pane(self, time: int) -> Pane:
        """Return the pane for an event time; it takes part once a key has entered it."""
        if not -NEVER <= time < NEVER:
            raise MessageError(f"its time is outside of 64 bits: {time}")
        panes = self._layout.panes
        index = panes.index(time)
        known = self._panes.get(index)
        if known is not None:
            return known
        last = self._layout.bounds(self._layout.windows(index)[-1])[1]
        return Pane(
            index, panes.start(index), panes.start(index + 1), last + self._config.allowed_lateness, {}
        )

    def enter(self, pane: Pane, key: Key, message: Message) -> Entry:
        """Return a new entry for a key that is not in the pane; raises :class:`MessageError` when there is no room."""
        if self._entries >= self._config.max_keys:
            raise MessageError(
                f"there are already {self._config.max_keys} keys in open windows; allow more with `max_keys`"
            )
        if pane.closes >= NEVER:
            raise MessageError(
                f"its time is too far in the future: {message.time // NANOSECONDS} s since 1970"
            )
        if not pane.entries:
            self._panes[pane.index] = pane
            self._schedule(pane, message.clock)
        entry = pane.entries[key] = self._plan.new_entry(message)
        self._entries += 1
        return entry

    def advance(self, clock: int, out: list[Message], limit: int = NEVER) -> bool:
        """Close the windows due at or before ``clock`` until ``out`` holds ``limit``; return whether that is all."""
        timers = self._timers
        while (popped := timers.pop(clock)) is not None:
            window, due = cast("tuple[int, int]", popped)
            if not self._close(window, due, out, limit):
                timers.set(window, due, now=due - 1)
                return False
        return True

    def _close(self, window: int, due: int, out: list[Message], limit: int) -> bool:
        first = window * self._layout.step
        indexes = range(first, first + self._layout.span)
        panes = [self._panes[index] for index in sorted(self._panes) if index in indexes]
        if self._remaining is None:
            self._remaining = _keys_of(panes)
            self._remaining.reverse()
        bounds = self._layout.bounds(window)
        missed = frozenset[int]().union(*(pane.missed for pane in panes))
        leaving = [pane for pane in panes if pane.index < first + self._layout.step]
        while self._remaining and len(out) < limit:
            key = self._remaining.pop()
            out.append(self._result(key, panes, bounds, due, missed))
            self._leave(key, leaving, bounds[0])
        if self._remaining:
            return False
        self._remaining = None
        for pane in leaving:
            del self._panes[pane.index]
        if len(panes) > len(leaving):
            self._timers.set(window + 1, self._due(window + 1), now=due)
        return True

    def _result(
        self, key: Key, panes: list[Pane], bounds: tuple[int, int], due: int, missed: frozenset[int]
    ) -> Message:
        start, end = bounds
        entries = [pane.entries[key] for pane in panes if key in pane.entries]
        entry = entries[0] if self._layout.span == 1 else self._plan.merged(entries)
        carried = self._carried.get(key)
        known = carried[1] if carried is not None and start < carried[0] else None
        meta = {"window_start": start, "window_end": end}
        if self._config.key is not None:
            meta["key"] = key_value(key)  # type: ignore[assignment]  # facts are of several types
        self._counters.created += 1
        time = end if self._config.timestamp == "end" else start
        payload = self._plan.payload(entry, Scope(start, end, entry.count), known, missed)
        return Message(entry.topic, payload, time, meta, due)

    def _leave(self, key: Key, leaving: list[Pane], start: int) -> None:
        """Let go of what stands in panes of a key that are in no later window."""
        for pane in leaving:
            entry = pane.entries.pop(key, None)
            if entry is None:
                continue
            self._entries -= 1
            self._counters.held -= entry.count
            self._counters.aggregated += entry.count
            if self._plan.carries and self._config.carry_for:
                self._carried.set(
                    key, [pane.end + self._config.carry_for, self._plan.lasts(entry)], now=start
                )

    def _schedule(self, pane: Pane, clock: int) -> None:
        """Set the timer of the first window of a new pane that is still open."""
        for window in self._layout.windows(pane.index):
            due = self._due(window)
            if due > clock:
                self._timers.set(window, due, now=clock)
                return

    def _due(self, window: int) -> int:
        return self._layout.bounds(window)[1] + self._config.allowed_lateness

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """Return the state in pieces that msgpack can write."""
        slots, series = self._plan.slots, self._plan.series
        missed = {index: sorted(pane.missed) for index, pane in self._panes.items()}
        yield {"panes": [[index, {}, missed[index]] for index in self._panes], "slots": slots}
        for index, pane in self._panes.items():
            for entries in batched(pane.entries.items(), PIECE):
                yield {"panes": [[index, dict(entries), missed[index]]], "slots": slots}
        for carried in self._carried.snapshot():
            yield {"carried": carried, "series": series}
        for keys in batched(self._remaining or (), PIECE):
            yield {"remaining": keys}

    def restore(self, state: dict[str, Any]) -> None:
        """Add a piece of what ``snapshot`` returned."""
        where = places(self._plan.slots, state.get("slots"))
        for index, entries, *missed in state.get("panes", ()):
            pane = self._panes[index] = self.pane(self._layout.panes.start(index))
            pane.entries.update(self._plan.restored(entries, where))
            pane.missed = missing(where, *missed)
            self._entries += len(entries)
        if "carried" in state:
            self._restore_carried(state["carried"], places(self._plan.series, state.get("series")))
        if state.get("remaining"):
            self._remaining = self._remaining or []
            self._remaining += [tuple(key) if isinstance(key, list) else key for key in state["remaining"]]

    def _restore_carried(self, piece: list[Any], where: list[int]) -> None:
        """Add last values, put into the order of the present fields; unknown ones are null."""
        for generation in piece[1:]:
            for known in generation.values():
                known[1] = [known[1][place] if place >= 0 else None for place in where]
        self._carried.restore(piece)


def _keys_of(panes: list[Pane]) -> list[Key]:
    if len(panes) == 1:  # a million keys are copied ten times as fast as they are compared
        return list(panes[0].entries)
    return list(dict.fromkeys(chain.from_iterable(pane.entries for pane in panes)))
