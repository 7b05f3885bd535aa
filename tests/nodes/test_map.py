from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner import Message
from flowrunner_nodes.map import Map
from tests.nodes.harness import START, message, options, run_transform, split_at

READING = message({"t": 20, "unit": "C", "room": {"name": "kitchen", "floor": 1}}, topic="in", qos=1)


def changed(given_options: dict[str, Any], incoming: Message = READING) -> Message:
    outcome = run_transform(Map, given_options, [[incoming]])
    assert [] == outcome.reasons
    return outcome.out[0]


def reason(given_options: dict[str, Any], incoming: Message = READING) -> str:
    outcome = run_transform(Map, given_options, [[incoming]])
    assert [incoming] == [failed for failed, _ in outcome.failures]
    return outcome.reasons[0]


@pytest.mark.parametrize(
    ("assignments", "payload"),
    [
        pytest.param({"payload": "={'f': payload.t * 2}"}, {"f": 40}, id="the whole payload"),
        pytest.param({"payload": 5}, 5, id="a literal"),
        pytest.param({"payload": None}, None, id="null"),
        pytest.param({"payload.t": 7}, {**READING.payload, "t": 7}, id="a member"),
        pytest.param(
            {"payload.room.floor": 2},
            {**READING.payload, "room": {"name": "kitchen", "floor": 2}},
            id="a nested member",
        ),
        pytest.param(
            {"payload.new.a.b": "=topic"},
            {**READING.payload, "new": {"a": {"b": "in"}}},
            id="mappings on the way are made",
        ),
        pytest.param(
            {"payload": "={}", "payload.was": "=payload.t"},
            {"was": 20},
            id="expressions see the incoming message",
        ),
        pytest.param({"payload.t": 1, "payload": 2}, 2, id="assignments happen in their order"),
    ],
)
def test_set_assigns_to_the_payload(assignments: dict[str, Any], payload: Any) -> None:
    assert READING.replace(payload=payload) == changed({"set": assignments})


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        pytest.param({"topic": "='a/' + topic"}, READING.replace(topic="a/in"), id="topic"),
        pytest.param({"time": "=time + 5"}, READING.replace(time=START + 5), id="time in nanoseconds"),
        pytest.param(
            {"time": "2026-03-01T11:00:00.000000001+01:00"},
            READING.replace(time=START + 1),
            id="time as text",
        ),
        pytest.param({"meta.site": "x"}, READING.replace(meta={"qos": 1, "site": "x"}), id="meta"),
        pytest.param({"meta.a.b": 1}, READING.replace(meta={"qos": 1, "a.b": 1}), id="meta is flat"),
    ],
)
def test_set_assigns_to_the_other_fields(assignments: dict[str, Any], expected: Message) -> None:
    assert expected == changed({"set": assignments})


@pytest.mark.parametrize(
    ("assignments", "incoming", "words"),
    [
        pytest.param({"payload.a": 1}, message(5), ["payload.a", "number"], id="a member of a number"),
        pytest.param({"payload.a": 1}, message(None), ["payload.a", "null"], id="a member of null"),
        pytest.param(
            {"payload.a.b": 1}, message({"a": []}), ["payload.a.b", "list"], id="a member of a list"
        ),
        pytest.param({"topic": "=payload"}, message(5), ["topic", "string"], id="a topic that is no string"),
        pytest.param({"time": True}, READING, ["time", "nanoseconds"], id="a time that is a bool"),
        pytest.param({"time": "=1.5"}, READING, ["time", "nanoseconds"], id="a time that is a fraction"),
        pytest.param({"time": "soon"}, READING, ["time", "soon"], id="a time that is no time"),
        pytest.param({"meta.x": "=payload"}, READING, ["meta.x", "mapping"], id="a mapping in meta"),
        pytest.param({"meta.x": "=[1]"}, READING, ["meta.x", "list"], id="a list in meta"),
        pytest.param({"payload": "=payload.no"}, READING, ["set `payload`", "no"], id="the payload"),
        pytest.param(
            {"topic": "a", "meta.x": "=payload.no"}, READING, ["set `meta.x`", "no"], id="the second"
        ),
    ],
)
def test_an_assignment_that_cannot_be_made_fails_the_message(
    assignments: dict[str, Any], incoming: Message, words: list[str]
) -> None:
    text = reason({"set": assignments}, incoming)

    assert [] == [word for word in words if word not in text]


@pytest.mark.parametrize(
    ("given_options", "payload"),
    [
        pytest.param(
            {"rename": {"payload.t": "payload.temperature"}},
            {"unit": "C", "room": {"name": "kitchen", "floor": 1}, "temperature": 20},
            id="rename",
        ),
        pytest.param(
            {"rename": {"payload.room.name": "payload.unit"}},
            {"t": 20, "unit": "kitchen", "room": {"floor": 1}},
            id="rename out of a mapping onto another member",
        ),
        pytest.param({"rename": {"payload.no": "payload.t"}}, READING.payload, id="rename what is not there"),
        pytest.param(
            {"rename": {"payload.t": "payload.x", "payload.unit": "payload.t", "payload.x": "payload.unit"}},
            {"t": "C", "unit": 20, "room": {"name": "kitchen", "floor": 1}},
            id="rename in order",
        ),
        pytest.param({"remove": ["payload.room", "payload.t"]}, {"unit": "C"}, id="remove"),
        pytest.param(
            {"remove": ["payload.t.x", "payload.no"]}, READING.payload, id="remove what is not there"
        ),
        pytest.param(
            {"remove": ["payload.room.name"]},
            {"t": 20, "unit": "C", "room": {"floor": 1}},
            id="remove nested",
        ),
        pytest.param({"keep": ["payload.t", "payload.no"]}, {"t": 20}, id="keep"),
        pytest.param({"keep": ["payload.room.name"]}, {"room": {"name": "kitchen"}}, id="keep nested"),
        pytest.param(
            {"keep": ["payload.room", "payload.room.name"]}, {"room": READING.payload["room"]}, id="keep both"
        ),
        pytest.param({"keep": []}, {}, id="keep nothing"),
        pytest.param(
            {
                "set": {"payload.t": 1},
                "rename": {"payload.t": "payload.a", "payload.unit": "payload.b"},
                "remove": ["payload.b"],
                "keep": ["payload.a", "payload.b"],
            },
            {"a": 1},
            id="all steps in their order",
        ),
    ],
)
def test_members_are_renamed_removed_and_kept(given_options: dict[str, Any], payload: Any) -> None:
    assert READING.replace(payload=payload) == changed(given_options)


@pytest.mark.parametrize(
    ("given_options", "payload"),
    [
        pytest.param({"keep": ["payload.a"]}, 5, id="keep a member of a number"),
        pytest.param({"rename": {"payload.a": "payload.b.c"}}, {"a": 1, "b": 2}, id="rename into a number"),
    ],
)
def test_a_path_into_something_else_than_a_mapping_fails_the_message(
    given_options: dict[str, Any], payload: Any
) -> None:
    assert "not a mapping" in reason(given_options, message(payload))


def test_the_message_that_came_in_is_never_changed() -> None:
    incoming = copy.deepcopy(READING)
    everything = {
        "set": {"payload.room.floor": 3, "payload.t": 9, "meta.x": 1},
        "rename": {"payload.room.name": "payload.room.title"},
        "remove": ["payload.room.floor"],
        "keep": ["payload.room"],
    }

    assert {"room": {"title": "kitchen"}} == changed(everything, incoming).payload
    assert READING == incoming


def test_what_does_not_change_is_shared() -> None:
    after = changed({"set": {"payload.t": 1}})

    assert after.payload["room"] is READING.payload["room"]
    assert after.meta is READING.meta


def test_a_message_keeps_its_place_in_the_order() -> None:
    assert (READING.clock, READING.seq) == (
        (after := changed({"set": {"payload": "=payload.t"}})).clock,
        after.seq,
    )


@pytest.mark.parametrize(
    ("given_options", "help"),
    [
        pytest.param({"set": {"clock": 1}}, "write topic, payload", id="set a field that is none"),
        pytest.param({"set": {"payload.": 1}}, "write topic, payload", id="set a member without a name"),
        pytest.param(
            {"set": {"payload.a..b": 1}}, "write topic, payload", id="set with an empty name on the way"
        ),
        pytest.param({"set": {"meta": 1}}, "write topic, payload", id="set all of meta"),
        pytest.param({"set": {"payload" + ".a" * 33: 1}}, "write topic, payload", id="set too deep"),
        pytest.param({"remove": ["linkquality"]}, "write payload.linkquality", id="remove without the root"),
        pytest.param({"remove": ["payload"]}, "write payload.NAME", id="remove the payload"),
        pytest.param({"keep": [""]}, "write payload.NAME", id="keep nothing by name"),
        pytest.param({"rename": {"payload.a": "meta.b"}}, "write payload.meta.b", id="rename to meta"),
    ],
)
def test_paths_that_lead_nowhere_are_refused(given_options: dict[str, Any], help: str) -> None:
    with pytest.raises(ValidationError) as refused:
        options(Map, **given_options)

    error = refused.value.errors()[0]
    assert ("FR029", True) == (error["type"], error["ctx"]["help"].startswith(help))


@given(
    st.lists(st.one_of(st.integers(0, 9), st.none(), st.just({"t": 1})), max_size=10),
    st.lists(st.integers(0, 10), max_size=4),
)
def test_the_borders_of_batches_change_nothing(values: list[Any], cuts: list[int]) -> None:
    given_options = {"set": {"payload.a": "=payload.t + 1"}, "keep": ["payload.a"]}
    messages = [message({"t": value}) for value in values]
    whole = run_transform(Map, given_options, [messages])

    cut = run_transform(Map, given_options, split_at(messages, cuts))

    assert (whole.out, whole.failures) == (cut.out, cut.failures)
