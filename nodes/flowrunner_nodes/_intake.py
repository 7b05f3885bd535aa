"""The hot loops of `aggregate`: from a batch of messages to the entries of their keys.

There are two, because most aggregates read one value of a message and keep one accumulator: that one saves a third of
the time by having no lists of values.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowrunner import Context, Expression, Message, MessageError
from flowrunner_nodes._keyed_windows import KeyedWindows
from flowrunner_nodes._keys import LARGEST, LEAST, to_key
from flowrunner_nodes._panes import NO_PANE, ROOM, UNREADABLE, Plan


class Intake:
    """Takes messages into the windows of one node, and lets windows close in between."""

    def __init__(self, key: Expression | None, plan: Plan, windows: KeyedWindows, context: Context) -> None:
        self._plan = plan
        self._windows = windows
        self._context = context
        self._by_topic = key is not None and key.source == "topic"
        self.take = self._take_one if len(plan.reads) == 1 and len(plan.adders) == 1 else self._take_many

    def _take_many(self, batch: Sequence[Message], out: list[Message]) -> None:
        fail, windows, plan, timers = self._context.fail, self._windows, self._plan, self._context.timers
        key_of, reads, adders, by_topic = plan.key.read, plan.reads, plan.adders, self._by_topic
        pane, start, end, closes = NO_PANE, 0, 0, 0
        entries, due, held = pane.entries, timers.due, 0
        for message in batch:
            time, clock = message.time, message.clock
            if clock >= due:
                windows.advance(clock, out)
                due = timers.due
            try:
                if not start <= time < end:
                    pane = windows.pane(time)
                    start, end, closes, entries = pane.start, pane.end, pane.closes, pane.entries
                if clock >= closes:
                    self._late(message)
                    continue
                key = message.topic if by_topic else key_of(message)
                if type(key) is not str:
                    key = to_key(key)
                values = [read(message) for read in reads]
                for value in values:
                    if type(value) is not float or not LEAST < value < LARGEST:
                        values = plan.fitted(values)
                        break
                entry = entries.get(key)
                if entry is None:
                    entry = windows.enter(pane, key, message)
                    due = timers.due
                elif entry.count >= ROOM and (reason := plan.refusal(entry, values, time)):
                    fail(message, reason)
                    continue
            except MessageError as error:
                fail(message, str(error))
                continue
            except UNREADABLE:
                fail(message, plan.problem(message))
                continue
            held += 1
            entry.count += 1
            if not by_topic and time >= entry.time:
                entry.time, entry.topic = time, message.topic
            states = entry.states
            for add, slot, column in adders:
                add(states[slot], values[column], time)
        self._context.counters.held += held

    def _take_one(self, batch: Sequence[Message], out: list[Message]) -> None:
        fail, windows, plan, timers = self._context.fail, self._windows, self._plan, self._context.timers
        key_of, read, add, by_topic = plan.key.read, plan.reads[0], plan.adders[0][0], self._by_topic
        pane, start, end, closes = NO_PANE, 0, 0, 0
        known, due, held = pane.entries.get, timers.due, 0
        for message in batch:
            time, clock = message.time, message.clock
            if clock >= due:
                windows.advance(clock, out)
                due = timers.due
            try:
                if not start <= time < end:
                    pane = windows.pane(time)
                    start, end, closes, known = pane.start, pane.end, pane.closes, pane.entries.get
                if clock >= closes:
                    self._late(message)
                    continue
                key = message.topic if by_topic else key_of(message)
                if type(key) is not str:
                    key = to_key(key)
                value = read(message)
                if type(value) is not float or not LEAST < value < LARGEST:
                    value = plan.fitted([value])[0]
                entry = known(key)
                if entry is None:
                    entry = windows.enter(pane, key, message)
                    due = timers.due
                elif entry.count >= ROOM and (reason := plan.refusal(entry, [value], time)):
                    fail(message, reason)
                    continue
            except MessageError as error:
                fail(message, str(error))
                continue
            except UNREADABLE:
                fail(message, plan.problem(message))
                continue
            held += 1
            entry.count += 1
            if not by_topic and time >= entry.time:
                entry.time, entry.topic = time, message.topic
            add(entry.states[0], value, time)
        self._context.counters.held += held

    def _late(self, message: Message) -> None:
        if "late" in self._context.wired:
            self._context.emit(message, "late")
        else:
            self._context.counters.drop("late")
