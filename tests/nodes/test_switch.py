from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner_nodes.switch import Switch
from tests.nodes.harness import message, options, run_transform, split_at

CASES = {"cases": {"cold": "payload.t < 18.0", "cool": "payload.t < 22.0", "hot": "payload.t > 30.0"}}
PORTS = ["cold", "cool", "hot", "else"]


def ports_of(value: Any, *, match: str, wired: list[str] = PORTS) -> tuple[list[str], dict[str, int]]:
    outcome = run_transform(Switch, {**CASES, "match": match}, [[message({"t": value})]], wired=wired)
    counters = outcome.context.counters
    return (
        [port for port in outcome.ports if outcome.ports[port]],
        {"created": counters.created, "filtered": counters.filtered},
    )


@pytest.mark.parametrize(
    ("value", "match", "ports", "created"),
    [
        pytest.param(10, "first", ["cold"], 0, id="the first case of two that hold"),
        pytest.param(10, "all", ["cold", "cool"], 1, id="all cases that hold"),
        pytest.param(20, "first", ["cool"], 0, id="a later case"),
        pytest.param(20, "all", ["cool"], 0, id="the only case of all"),
        pytest.param(25, "first", ["else"], 0, id="no case"),
        pytest.param(25, "all", ["else"], 0, id="no case of all"),
    ],
)
def test_a_message_leaves_by_the_ports_of_its_cases(
    value: int, match: str, ports: list[str], created: int
) -> None:
    assert (ports, {"created": created, "filtered": 0}) == ports_of(value, match=match)


@pytest.mark.parametrize(
    ("value", "match", "wired", "ports", "counts"),
    [
        pytest.param(10, "first", ["hot"], [], {"created": 0, "filtered": 1}, id="its case"),
        pytest.param(25, "first", ["hot"], [], {"created": 0, "filtered": 1}, id="else"),
        pytest.param(10, "all", ["cool"], ["cool"], {"created": 1, "filtered": 1}, id="one of two cases"),
        pytest.param(10, "all", ["hot"], [], {"created": 1, "filtered": 2}, id="both cases"),
    ],
)
def test_messages_for_a_port_without_a_wire_count_as_filtered(
    value: int, match: str, wired: list[str], ports: list[str], counts: dict[str, int]
) -> None:
    assert (ports, counts) == ports_of(value, match=match, wired=wired)


@pytest.mark.parametrize("match", ["first", "all"])
def test_a_case_that_cannot_be_evaluated_fails_the_message_and_emits_nothing(match: str) -> None:
    given_options = {"cases": {"any": "topic == 't' && payload.t > 0", "late": "true"}, "match": match}

    outcome = run_transform(Switch, given_options, [[message({})]], wired=["any", "late", "else"])

    assert {"out": []} == outcome.ports
    assert outcome.reasons[0].startswith("case `any`: ")


def test_a_failing_case_after_one_that_holds_emits_nothing_with_all() -> None:
    given_options = {"cases": {"any": "true", "late": "payload.t > 0"}, "match": "all"}

    outcome = run_transform(Switch, given_options, [[message({})]], wired=["any", "late"])

    assert {"out": []} == outcome.ports
    assert 1 == len(outcome.failures)


def test_cases_after_the_first_that_holds_are_not_tried() -> None:
    given_options = {"cases": {"any": "true", "late": "payload.t > 0"}}

    outcome = run_transform(Switch, given_options, [[message({})]], wired=["any"])

    assert [{}] == outcome.payloads("any")


def test_a_case_must_give_a_bool() -> None:
    outcome = run_transform(Switch, {"cases": {"a": "payload.t"}}, [[message({"t": 1})]])

    assert ["case `a` must be true or false, got a number"] == outcome.reasons


def test_the_ports_are_the_cases_and_else() -> None:
    assert ("cold", "cool", "hot", "else") == Switch.ports(options(Switch, **CASES))


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        pytest.param({"errors": "true"}, "FR028", id="errors"),
        pytest.param({"else": "true"}, "FR028", id="else"),
        pytest.param({"out": "true"}, "FR028", id="out"),
        pytest.param({"Warm": "true"}, "FR026", id="an upper-case letter"),
        pytest.param({"a.b": "true"}, "FR026", id="a dot"),
        pytest.param({"": "true"}, "FR026", id="nothing"),
        pytest.param({}, "too_short", id="no case at all"),
    ],
)
def test_names_that_cannot_be_ports_are_refused(cases: dict[str, str], code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        options(Switch, cases=cases)

    assert code == refused.value.errors()[0]["type"]


@given(
    st.lists(st.one_of(st.integers(0, 40), st.none()), max_size=10),
    st.lists(st.integers(0, 10), max_size=4),
    st.sampled_from(["first", "all"]),
)
def test_the_borders_of_batches_change_nothing(values: list[Any], cuts: list[int], match: str) -> None:
    messages = [message({"t": value}) for value in values]
    given_options = {**CASES, "match": match}
    whole = run_transform(Switch, given_options, [messages], wired=PORTS)

    cut = run_transform(Switch, given_options, split_at(messages, cuts), wired=PORTS)

    assert [whole.payloads(port) for port in PORTS] == [cut.payloads(port) for port in PORTS]
    assert whole.failures == cut.failures
