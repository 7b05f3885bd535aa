"""What `aggregate` takes in, gives out, refuses and remembers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from flowrunner import NANOSECONDS, Context, Message
from flowrunner_nodes.aggregate import EXAMPLE, Aggregate, Config
from tests.nodes.harness import START, RecordingLog, SetClock, options, run_transform, take_up

MINUTE = 60 * NANOSECONDS
TUMBLING = {"type": "tumbling", "size": "1m"}
WHOLE_NUMBERS = {"n": "count()", "sum": "sum(payload)"}


def at(seconds: float, payload: Any = 1, *, topic: str = "t", clock: float | None = None) -> Message:
    """Return a message of an event time, in seconds from the start, that arrives then or at ``clock``."""
    arrival = START + int((seconds if clock is None else clock) * NANOSECONDS)
    return Message(topic, payload, START + int(seconds * NANOSECONDS), {}, arrival, 1)


def end(minutes: float = 60) -> Message:
    """Return a message that does nothing but let the clock go on: it is late for every window."""
    return Message("end", 1, 0, {}, START + int(minutes * MINUTE), 9)


def results(given: dict[str, Any], *messages: Message) -> list[Message]:
    given = {"window": TUMBLING, "fields": WHOLE_NUMBERS, **given}
    return run_transform(Aggregate, given, [[*messages, end()]]).out


def payloads(given: dict[str, Any], *messages: Message) -> list[Any]:
    return [message.payload for message in results(given, *messages)]


def test_the_example_of_the_specification_gives_its_point() -> None:
    given = {
        "key": "topic",
        "allowed_lateness": "10s",
        "fields": {
            "mean": "time_weighted_mean(payload.temperature)",
            "max": "max(payload.temperature)",
            "samples": "count()",
        },
    }
    kitchen = "zigbee2mqtt/kitchen"

    [point] = results(
        given,
        at(0, {"temperature": 20.0}, topic=kitchen, clock=10),
        at(30, {"temperature": 22.0}, topic=kitchen, clock=40),
    )

    assert point == Message(
        kitchen,
        {"mean": 21.0, "max": 22.0, "samples": 2},
        START,
        {"window_start": START, "window_end": START + MINUTE, "key": kitchen},
        START + 70 * NANOSECONDS,
        0,
    )


def test_the_time_of_a_result_may_be_the_end_of_the_window() -> None:
    [result] = results({"timestamp": "end"}, at(5))

    assert result.time == START + MINUTE


def test_without_a_key_all_messages_are_one_and_the_last_in_time_gives_the_topic() -> None:
    [result] = results(
        {"allowed_lateness": "10s"}, at(2, topic="b"), at(30, topic="c"), at(1, topic="a", clock=31)
    )

    assert result.topic == "c"
    assert result.payload == {"n": 3, "sum": 3.0}
    assert set(result.meta) == {"window_start", "window_end"}


def test_keys_come_in_the_order_in_which_they_were_first_seen() -> None:
    keys = ("b", 1, "a", True, None, 1.0, 2.5, "b", "1")
    found = results({"key": "payload", "fields": {"n": "count()"}}, *[at(0, key) for key in keys])

    assert [("b", 2), (1, 2), ("a", 1), (True, 1), (None, 1), (2.5, 1), ("1", 1)] == [
        (result.meta["key"], result.payload["n"]) for result in found
    ]
    assert [str, int, str, bool, type(None), float, str] == [type(result.meta["key"]) for result in found]


@pytest.mark.parametrize("wired", [True, False])
def test_a_message_whose_window_has_closed_is_late(wired: bool) -> None:
    given = {"window": TUMBLING, "fields": WHOLE_NUMBERS, "allowed_lateness": "5s"}
    batch = [at(10), at(59, clock=64.9), at(59, 100, clock=65), at(61, clock=66)]

    outcome = run_transform(Aggregate, given, [batch], wired=["out", "late"] if wired else ["out"])

    assert [{"n": 2, "sum": 2.0}] == outcome.payloads()
    assert ([100] if wired else []) == outcome.payloads("late")
    assert ({} if wired else {"late": 1}) == outcome.context.counters.dropped


def test_a_message_from_the_future_closes_nobodys_window() -> None:
    years = 10 * 366 * 86_400
    outcome = run_transform(
        Aggregate,
        {"window": TUMBLING, "fields": WHOLE_NUMBERS},
        [[at(1), at(years, clock=2), at(3)], [end()]],
    )

    assert [{"n": 2, "sum": 2.0}] == outcome.payloads()
    assert outcome.context.counters.held == 1


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        pytest.param(2**63, "its time is outside of 64 bits", id="beyond 64 bits"),
        pytest.param(-(2**70), "its time is outside of 64 bits", id="far below zero"),
        pytest.param(2**63 - 2, "its time is too far in the future", id="a window that would never close"),
    ],
)
def test_a_time_that_cannot_be_is_a_failure(time: int, reason: str) -> None:
    outcome = run_transform(
        Aggregate, {"window": TUMBLING, "fields": WHOLE_NUMBERS}, [[Message("t", 1, time, clock=START)]]
    )

    assert [True] == [text.startswith(reason) for text in outcome.reasons]
    assert outcome.context.counters.held == 0


def test_there_is_an_end_to_keys() -> None:
    given = {"window": TUMBLING, "fields": WHOLE_NUMBERS, "key": "topic", "max_keys": 2}

    outcome = run_transform(Aggregate, given, [[at(0, topic=topic) for topic in "abca"], [at(70, topic="c")]])

    assert ["there are already 2 keys in open windows; allow more with `max_keys`"] == outcome.reasons
    assert [2, 1] == [payload["n"] for payload in outcome.payloads()]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param({"a": "21", "b": 1}, "field `sum`: '21' is not a number", id="text for a number"),
        pytest.param({"a": 1, "b": True}, "field `low`: True is not a number", id="a bool for a number"),
        pytest.param(
            {"a": 1, "b": 1, "c": [1]}, "field `mode`: [1] is not a string", id="a list for a scalar"
        ),
        pytest.param({"a": 1}, "field `low`:", id="a member that is missing"),
        pytest.param(7, "field `sum`:", id="no mapping"),
        pytest.param(
            {"a": 1, "b": 1, "c": 1, "key": {}}, "`key`: {} is not a string", id="a mapping for a key"
        ),
    ],
)
def test_a_message_that_cannot_be_read_is_in_no_field_at_all(payload: Any, reason: str) -> None:
    given = {
        "window": TUMBLING,
        "key": "has(payload.key) ? payload.key : 'k'",
        "fields": {
            "sum": "sum(payload.a)",
            "low": "min(payload.b)",
            "mode": "mode(payload.c)",
            "n": "count()",
        },
    }
    good = at(1, {"a": 1, "b": 2, "c": "x"})
    if payload == 7:
        given["key"] = "topic"

    outcome = run_transform(Aggregate, given, [[good, at(2, payload), end()]])

    assert [True] == [text.startswith(reason) for text in outcome.reasons], outcome.reasons
    assert [{"sum": 1.0, "low": 2, "mode": "x", "n": 1}] == outcome.payloads()
    assert outcome.context.counters.errors == 1


def test_a_window_that_has_no_room_for_a_value_lets_the_message_fail() -> None:
    given = {"window": TUMBLING, "fields": {"n": "count()", "kinds": "distinct(payload)"}}

    outcome = run_transform(Aggregate, given, [[at(1, value) for value in [*range(10_001), 7, "x"]], [end()]])

    assert ["field `kinds`: there are already 10000 different values in this window"] * 2 == outcome.reasons
    assert [{"n": 10_001, "kinds": 10_000}] == outcome.payloads()


def test_the_last_value_holds_into_the_next_window() -> None:
    fields = {
        "mean": "time_weighted_mean(payload)",
        "energy": "integral(payload, '1s')",
        "at_10": "duration_in(payload, 10)",
    }

    found = payloads({"fields": fields}, at(30, 10), at(90, 20))

    assert [{"mean": 10, "energy": 300, "at_10": 30}, {"mean": 15, "energy": 900, "at_10": 30}] == found


@pytest.mark.parametrize(
    ("carry_for", "mean"),
    [
        pytest.param("5m", 15, id="long enough"),
        pytest.param("4m", 20, id="not long enough"),
        pytest.param("0s", 20, id="never"),
    ],
)
def test_a_value_is_carried_over_empty_windows_for_a_time(carry_for: str, mean: float) -> None:
    given = {"carry_for": carry_for, "fields": {"mean": "time_weighted_mean(payload)"}}

    found = payloads(given, at(30, 10), at(5 * 60 + 30, 20))

    assert [{"mean": 10}, {"mean": mean}] == found


def test_a_counter_grows_over_windows_and_begins_again() -> None:
    fields = {"grown": "increase(payload)", "per_hour": "rate(payload, '1h')"}

    found = payloads({"fields": fields}, at(50, 100), at(70, 103), at(80, 2), at(130, 5))

    assert [
        {"grown": None, "per_hour": None},
        {"grown": 5, "per_hour": 300},
        {"grown": 3, "per_hour": 180},
    ] == found


def test_a_duration_is_that_of_any_kind_of_value() -> None:
    fields = {
        "on": "duration_in(payload, 'on')",
        "true": "duration_in(payload, true)",
        "one": "duration_in(payload, 1)",
    }

    found = payloads({"fields": fields}, at(0, "on"), at(10, True), at(30, 1.0), at(35, None))

    assert [{"on": 10.0, "true": 20.0, "one": 5.0}] == found


def test_a_result_that_does_not_exist_is_null() -> None:
    fields = {
        "spread": "stddev(payload)",
        "slope": "derivative(payload, '1m')",
        "grown": "increase(payload)",
        "wind": "circular_mean(payload)",
    }

    assert [{"spread": None, "slope": None, "grown": None, "wind": 5.0}] == [
        {**payload, "wind": round(payload["wind"], 9)} for payload in payloads({"fields": fields}, at(1, 5))
    ]


def test_a_day_at_the_change_of_clocks_has_25_hours() -> None:
    window = {"type": "tumbling", "size": "1d", "timezone": "Europe/Berlin"}
    begin = 1_792_879_200 * NANOSECONDS  # 2026-10-25 00:00 in Berlin
    hour = 3_600 * NANOSECONDS
    batch = [Message("t", 1, begin + k * hour, clock=begin + k * hour) for k in range(-1, 26)]

    outcome = run_transform(Aggregate, {"window": window, "fields": {"n": "count()"}}, [batch])

    assert [(begin - 24 * hour, 1), (begin, 25)] == [(day.time, day.payload["n"]) for day in outcome.out]
    assert outcome.context.counters.held == 1


def test_a_message_is_aggregated_once_when_its_last_window_closes() -> None:
    window = {"type": "hopping", "size": "1m", "every": "20s"}
    context = Context("flow", "node", log=RecordingLog(), clock=SetClock())
    node = Aggregate(options(Aggregate, window=window, fields={"n": "count()"}), context)
    node.on_batch([at(30)])

    books = []
    for second in (40, 60, 79, 80):
        out: list[Message] = []
        node.advance(START + second * NANOSECONDS, out)
        counters = context.counters
        books.append((len(out), counters.created, counters.held, counters.aggregated))

    assert [(1, 1, 1, 0), (1, 2, 1, 0), (0, 2, 1, 0), (1, 3, 0, 1)] == books


def test_a_window_of_many_keys_comes_out_in_slices() -> None:
    context = Context("flow", "node", log=RecordingLog(), clock=SetClock())
    node = Aggregate(options(Aggregate, window=TUMBLING, key="topic", fields={"n": "count()"}), context)
    node.on_batch([at(1, topic=f"home/{number}") for number in range(5_000)])

    slices: list[list[Message]] = []
    done = False
    while not done:
        slices.append([])
        done = node.advance(START + 2 * MINUTE, slices[-1], 1_024)

    assert [1_024, 1_024, 1_024, 1_024, 904] == [len(out) for out in slices]
    assert [f"home/{number}" for number in range(5_000)] == [result.topic for out in slices for result in out]
    assert (0, 5_000, 5_000) == (context.counters.held, context.counters.aggregated, context.counters.created)


def test_a_large_sample_survives_a_restart() -> None:
    given = options(
        Aggregate,
        window=TUMBLING,
        key="payload.key",
        fields={"p90": "quantile(payload.x, 0.9)", "m": "mode(payload.x)"},
    )
    nodes = [
        Aggregate(given, Context("flow", "node", log=RecordingLog(), clock=SetClock())) for _ in range(2)
    ]
    nodes[0].on_batch(
        [at(number / 100, {"key": number % 2 == 0, "x": number % 700}) for number in range(3_000)]
    )

    take_up(nodes[1], nodes[0])

    outs: list[list[Message]] = [[], []]
    for node, out in zip(nodes, outs, strict=True):
        node.on_batch([at(40, {"key": True, "x": 5})])
        node.advance(START + MINUTE, out)
    assert outs[0] == outs[1]
    assert [True, False] == [result.meta["key"] for result in outs[0]]
    assert 630 == pytest.approx(outs[0][0].payload["p90"], abs=10)


@pytest.mark.parametrize(
    ("call", "code", "text", "help", "offset"),
    [
        pytest.param("meen(topic)", "FR041", "no function `meen`", "did you mean `mean`?", 0, id="misspelt"),
        pytest.param(
            "zzz(topic)", "FR041", "no function `zzz`", "the functions are: circular_mean", 0, id="unknown"
        ),
        pytest.param("mean()", "FR042", "takes one argument, got 0", "write mean(x)", 0, id="too few"),
        pytest.param("count(time)", "FR042", "takes no argument, got 1", "write count()", 0, id="too many"),
        pytest.param(
            "rate(time)", "FR042", "takes 2 arguments, got 1", "write rate(x, unit)", 0, id="without a unit"
        ),
        pytest.param(
            "quantile(time, 1.5)", "FR042", "a number from 0 to 1, got 1.5", "write 0.9", 15, id="q of 1.5"
        ),
        pytest.param(
            "quantile(time, true)", "FR042", "a number from 0 to 1", "write 0.9", 15, id="q of true"
        ),
        pytest.param(
            "rate(time, 'h')", "FR042", "a length of time, got 'h'", "such as '1h'", 11, id="unit without 1"
        ),
        pytest.param(
            "rate(time, '0s')", "FR042", "a length of time", "such as '1h'", 11, id="unit of nothing"
        ),
        pytest.param(
            "rate(time, topic)", "FR042", "a constant, got topic", "as a literal", 11, id="unit from data"
        ),
        pytest.param(
            "duration_in(topic, [1])", "FR042", "true, false or null, got [1]", "a member", 19, id="a list"
        ),
    ],
)
def test_a_call_that_is_wrong_is_refused_at_its_place(
    call: str, code: str, text: str, help: str, offset: int
) -> None:
    with pytest.raises(ValidationError) as caught:
        options(Aggregate, window=TUMBLING, fields={"good": "count()", "bad": call})

    [error] = caught.value.errors()
    assert (code, ("fields", "bad"), offset) == (error["type"], error["loc"], error["ctx"]["offset"])
    assert text in error["ctx"]["text"]
    assert help in error["ctx"]["help"]


def test_a_node_without_fields_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        options(Aggregate, window=TUMBLING, fields={})


def test_the_example_has_valid_options() -> None:
    node = yaml.safe_load(EXAMPLE)["nodes"]["per_minute"]
    del node["from"]

    assert Aggregate.ports(Config.model_validate(node)) == ("out", "late")
