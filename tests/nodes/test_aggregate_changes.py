"""What becomes of open windows when the fields of `aggregate` change."""

from __future__ import annotations

from typing import Any

import pytest

from flowrunner import NANOSECONDS, Context, Counters, Message
from flowrunner_nodes.aggregate import Aggregate
from tests.nodes.harness import START, RecordingLog, SetClock, options, take_up

TUMBLING = {"type": "tumbling", "size": "1m"}
HOPPING = {"type": "hopping", "size": "2m", "every": "1m"}


def build(fields: dict[str, str], *, counters: Counters | None = None, **given: Any) -> Aggregate:
    context = Context("flow", "node", log=RecordingLog(), clock=SetClock())
    context.counters = counters or context.counters
    return Aggregate(options(Aggregate, **({"window": TUMBLING, "fields": fields} | given)), context)


def changed(old: Aggregate, fields: dict[str, str], **given: Any) -> Aggregate:
    """Return a node with other fields that has taken up the state of ``old``, as a reload does."""
    new = build(fields, counters=old.context.counters, **given)
    assert Aggregate.state_options(old.config) == Aggregate.state_options(new.config)
    return take_up(new, old)


def feed(node: Aggregate, *readings: tuple[float, float]) -> list[Any]:
    """Give a node readings at seconds, and return the payloads of the windows that close."""
    out: list[Message] = []
    counters = node.context.counters
    for second, value in readings:
        moment = START + int(second * NANOSECONDS)
        counters.received += 1
        out += node.on_batch([Message("t", value, moment, {}, moment, 1)])
    counters.emitted["out"] = counters.emitted.get("out", 0) + len(out)
    assert 0 == counters.balance()
    return [message.payload for message in out]


def test_a_field_that_is_added_is_null_for_the_open_window_and_right_from_the_next_on() -> None:
    old = build({"n": "count()", "sum": "sum(payload)"})
    feed(old, (0, 1.0), (10, 2.0))

    new = changed(old, {"last": "last(payload)", "n": "count()", "sum": "sum(payload)"})

    assert [{"last": None, "n": 3, "sum": 6.0}] == feed(new, (20, 3.0), (70, 5.0))
    assert [{"last": 5.0, "n": 1, "sum": 5.0}] == feed(new, (130, 7.0))


def test_a_field_that_reads_what_another_has_kept_is_right_at_once() -> None:
    old = build({"sum": "sum(payload)"})
    feed(old, (0, 1.0), (10, 2.0))

    new = changed(old, {"greatest": "max(payload)", "middle": "mean(payload)"})

    assert [{"greatest": 3.0, "middle": 2.0}] == feed(new, (20, 3.0), (70, 5.0))


def test_fields_may_come_in_another_order_and_go() -> None:
    old = build({"last": "last(payload)", "spread": "stddev(payload)", "sum": "sum(payload)"})
    feed(old, (0, 1.0), (10, 2.0))

    new = changed(old, {"sum": "sum(payload)", "last": "last(payload)"})

    assert [{"sum": 6.0, "last": 3.0}] == feed(new, (20, 3.0), (70, 5.0))


def test_what_a_field_has_missed_is_known_after_another_restart() -> None:
    old = build({"n": "count()"})
    feed(old, (0, 1.0))
    fields = {"n": "count()", "sum": "sum(payload)"}

    new = changed(changed(changed(old, fields), fields), dict(reversed(fields.items())))

    assert [{"sum": None, "n": 2}] == feed(new, (20, 3.0), (70, 5.0))


def test_a_window_of_several_panes_is_null_as_long_as_one_of_them_has_missed_messages() -> None:
    old = build({"n": "count()"}, window=HOPPING)
    feed(old, (10, 1.0))

    new = changed(old, {"n": "count()", "sum": "sum(payload)"}, window=HOPPING)

    assert [{"n": 1, "sum": None}, {"n": 2, "sum": None}, {"n": 2, "sum": 7.0}] == feed(
        new, (70, 3.0), (130, 4.0), (190, 5.0)
    )


@pytest.mark.parametrize(
    ("fields", "carried"),
    [
        pytest.param({"growth": "increase(payload)", "area": "integral(payload, '1s')"}, 8.0, id="kept"),
        pytest.param({"other": "increase(payload + 1.0)", "growth": "increase(payload)"}, 8.0, id="moved"),
    ],
)
def test_the_last_value_is_carried_over_a_change(fields: dict[str, str], carried: float) -> None:
    old = build({"area": "integral(payload, '1s')", "growth": "increase(payload)"})
    assert 1 == len(feed(old, (0, 10.0), (30, 12.0), (70, 15.0)))

    new = changed(old, fields)

    [first] = feed(new, (80, 20.0), (130, 21.0))
    assert carried == first["growth"]


def test_a_series_that_begins_with_a_change_has_nothing_to_carry() -> None:
    old = build({"n": "count()"}, key="topic")
    feed(old, (0, 10.0))

    new = changed(old, {"n": "count()", "growth": "increase(payload)"}, key="topic")

    assert [{"n": 1, "growth": None}] == feed(new, (70, 15.0))
    assert [{"n": 2, "growth": 5.0}] == feed(new, (80, 20.0), (130, 30.0))
    assert [{"n": 1, "growth": 10.0}] == feed(new, (190, 31.0))
