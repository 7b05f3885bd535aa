"""`aggregate` against a slow reference, however its input is cut into batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner import Context, Message, SystemClock, format_duration
from flowrunner_nodes.aggregate import Aggregate, Config
from tests.nodes.aggregate_reference import FUNCTIONS, SECOND, Setting, expected
from tests.nodes.harness import take_up

BEGIN = 1_772_359_200 * SECOND
END = BEGIN + 3_600 * SECOND


def alike(one: Any, other: Any) -> bool:
    """Return whether two results differ by rounding at most; 360 degrees are 0."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or math.isclose(
        abs(one - other), 360, rel_tol=1e-9
    )


@cache
def config(setting: Setting) -> Config:
    window = {
        "type": "hopping",
        "size": format_duration(setting.size),
        "every": format_duration(setting.every),
    }
    if setting.size == setting.every:
        window = {"type": "tumbling", "size": format_duration(setting.size)}
    options = {
        "type": "aggregate",
        "key": "topic",
        "window": window,
        "allowed_lateness": format_duration(setting.lateness),
        "carry_for": format_duration(setting.carry_for),
        "fields": {call: call for call in FUNCTIONS},
    }
    return Config.model_validate(options)


def build(setting: Setting) -> Aggregate:
    wired = frozenset({"out", "late"})
    return Aggregate(
        config(setting), Context("flow", "node", log=structlog.get_logger(), clock=SystemClock(), wired=wired)
    )


class Run:
    """A node that is fed in pieces, and perhaps stopped and started in between; its books must always balance."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.node = build(setting)
        self.out: list[Message] = []
        self.late: list[Message] = []

    def feed(self, batch: Sequence[Message]) -> None:
        self.node.context.counters.received += len(batch)
        self.taken(self.node.on_batch(batch))

    def tick(self, clock: int, limit: int, *, crash: bool = False) -> None:
        done = False
        while not done:
            out: list[Message] = []
            done = self.node.advance(clock, out, limit)
            self.taken(out)
            if crash:
                self.restart()

    def taken(self, out: list[Message]) -> None:
        counters, context = self.node.context.counters, self.node.context
        late = context.ports.pop("late", [])
        self.late += late
        self.out += out
        counters.emitted["out"] = counters.emitted.get("out", 0) + len(out)
        counters.emitted["late"] = counters.emitted.get("late", 0) + len(late)
        assert counters.balance() == 0
        assert context.failures == []

    def restart(self) -> None:
        """Put the state through a checkpoint into a new node."""
        context = self.node.context
        self.node = take_up(build(self.setting), self.node)
        self.node.context.counters = context.counters
        self.node._windows._counters = context.counters


SETTINGS = st.sampled_from(
    [
        Setting(10 * SECOND, 10 * SECOND, 0),
        Setting(10 * SECOND, 10 * SECOND, 7 * SECOND),
        Setting(10 * SECOND, 10 * SECOND, 25 * SECOND, carry_for=0),
        Setting(10 * SECOND, 5 * SECOND, 0),
        Setting(10 * SECOND, 4 * SECOND, 3 * SECOND),
        Setting(12 * SECOND, 3 * SECOND, 5 * SECOND, carry_for=10 * SECOND),
    ]
)
VALUES = st.one_of(st.integers(0, 4), st.floats(-500, 500).map(lambda value: round(value, 2)))
ARRIVALS = st.tuples(st.integers(0, 8), st.integers(-30, 12), st.sampled_from("ab"), VALUES)


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    clock, messages = BEGIN, []
    for seq, (pause, lag, topic, value) in enumerate(draw(st.lists(ARRIVALS, max_size=40))):
        clock += pause * SECOND
        messages.append(Message(topic, value, clock + lag * SECOND, clock=clock, seq=seq + 1))
    return messages


@settings(max_examples=80, deadline=None)
@given(histories(), SETTINGS)
def test_every_function_agrees_with_the_reference(messages: list[Message], setting: Setting) -> None:
    run = Run(setting)

    run.feed(messages)
    run.tick(END, 10**9)

    want = expected(messages, setting, END)
    assert want.late == run.late
    assert [(start, clock, key) for start, clock, key, _ in want.results] == [
        (message.time, message.clock, message.meta["key"]) for message in run.out
    ]
    for (_, _, _, fields), message in zip(want.results, run.out, strict=True):
        assert [] == [
            (call, want, message.payload[call])
            for call, want in fields.items()
            if not alike(want, message.payload[call])
        ]
    assert want.open == run.node.context.counters.held == 0


@settings(max_examples=80, deadline=None)
@given(histories(), SETTINGS, st.data())
def test_batches_ticks_slices_and_restarts_change_nothing(
    messages: list[Message], setting: Setting, data: st.DataObject
) -> None:
    whole, pieces = Run(setting), Run(setting)
    whole.feed(messages)
    rest = messages
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        batch, rest = rest[:cut], rest[cut:]
        pieces.feed(batch)
        if data.draw(st.booleans()):
            pieces.restart()
        if data.draw(st.booleans()):
            latest = rest[0].clock if rest else END
            clock = data.draw(st.integers(batch[-1].clock, latest))
            pieces.tick(clock, data.draw(st.integers(1, 3)), crash=data.draw(st.booleans()))
    whole.tick(END, 10**9)
    pieces.tick(END, 1, crash=True)

    assert whole.out == pieces.out
    assert whole.late == pieces.late
    assert [message.clock for message in whole.out] == sorted(message.clock for message in whole.out)


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([(at, value) for at, value in enumerate([3, 1, 4.5, 1, 5, 9, 2, 6])]), st.integers(1, 3)
)
def test_the_order_of_arrival_in_a_window_makes_no_difference(
    order: list[tuple[int, Any]], step: int
) -> None:
    setting = Setting(12 * SECOND, 12 // step * SECOND, 0)
    sorted_run, shuffled_run = Run(setting), Run(setting)

    for run, samples in ((sorted_run, sorted(order)), (shuffled_run, order)):
        run.feed([Message("a", value, BEGIN + at * SECOND, clock=BEGIN + SECOND) for at, value in samples])
        run.tick(END, 10**9)

    for want, got in zip(sorted_run.out, shuffled_run.out, strict=True):
        assert all(alike(want.payload[call], got.payload[call]) for call in FUNCTIONS)
        assert (want.time, want.topic, want.meta) == (got.time, got.topic, got.meta)


def test_a_tick_that_stops_in_a_window_lets_nothing_into_it() -> None:
    run = Run(Setting(10 * SECOND, 10 * SECOND, 0))
    run.feed([Message(topic, 1, BEGIN, clock=BEGIN) for topic in "abc"])
    first: list[Message] = []
    assert run.node.advance(BEGIN + 10 * SECOND, first, 1) is False
    run.taken(first)

    run.feed([Message("c", 1, BEGIN + SECOND, clock=BEGIN + 10 * SECOND)])

    assert ["a", "b", "c"] == [message.topic for message in run.out]
    assert ["c"] == [message.topic for message in run.late]
    assert [1, 1, 1] == [message.payload["count()"] for message in run.out]
