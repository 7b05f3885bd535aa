from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner_nodes.filter import Filter
from tests.nodes.harness import message, options, run_transform, split_at

WARM = {"where": "payload.t > 20.0"}
READINGS = [message({"t": 19}), message({"t": 21.5}), message({}), message({"t": "warm"}), message({"t": 30})]


def test_messages_that_meet_the_condition_leave_by_out() -> None:
    outcome = run_transform(Filter, WARM, [READINGS])

    assert [{"t": 21.5}, {"t": 30}] == outcome.payloads()


def test_a_message_that_passes_is_the_same_object() -> None:
    outcome = run_transform(Filter, WARM, [[READINGS[1]]])

    assert outcome.out[0] is READINGS[1]


def test_other_messages_leave_by_rejected() -> None:
    outcome = run_transform(Filter, WARM, [READINGS], wired=["out", "rejected"])

    assert [{"t": 19}] == outcome.payloads("rejected")
    assert outcome.context.counters.filtered == 0


def test_rejected_messages_count_as_filtered_when_the_port_is_not_wired() -> None:
    outcome = run_transform(Filter, WARM, [READINGS])

    assert [] == outcome.payloads("rejected")
    assert outcome.context.counters.filtered == 1


def test_a_condition_that_cannot_be_evaluated_fails_the_message() -> None:
    outcome = run_transform(Filter, WARM, [READINGS])

    assert READINGS[2:4] == [failed for failed, _ in outcome.failures]
    assert "t" in outcome.reasons[0]


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        pytest.param("payload.t", "a number", id="a number"),
        pytest.param("topic", "a string", id="a string"),
        pytest.param("null", "null", id="null"),
    ],
)
def test_a_condition_must_give_a_bool(where: str, kind: str) -> None:
    outcome = run_transform(Filter, {"where": where}, [[message({"t": 1})]])

    assert [f"`where` must be true or false, got {kind}"] == outcome.reasons
    assert [] == outcome.out


def test_the_ports_are_out_and_rejected() -> None:
    assert ("out", "rejected") == Filter.ports(options(Filter, where="true"))


@pytest.mark.parametrize(
    "given_options",
    [
        pytest.param({}, id="no condition"),
        pytest.param({"where": "payload.("}, id="a condition that does not parse"),
        pytest.param({"where": "true", "wher": "true"}, id="an unknown option"),
    ],
)
def test_wrong_options_are_refused(given_options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(Filter, **given_options)


VALUES = st.one_of(st.integers(0, 40), st.none(), st.text(max_size=2))


@given(st.lists(VALUES, max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_the_borders_of_batches_change_nothing(values: list[Any], cuts: list[int]) -> None:
    messages = [message({"t": value}) for value in values]
    whole = run_transform(Filter, WARM, [messages], wired=["out", "rejected"])

    cut = run_transform(Filter, WARM, split_at(messages, cuts), wired=["out", "rejected"])

    assert (whole.out, whole.payloads("rejected"), whole.failures) == (
        cut.out,
        cut.payloads("rejected"),
        cut.failures,
    )
