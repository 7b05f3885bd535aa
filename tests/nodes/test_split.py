"""What `split` makes of lists and mappings."""

from __future__ import annotations

from typing import Any

import pytest

from flowrunner_nodes.split import Split
from tests.nodes.harness import START, message, run_transform


def test_a_list_becomes_a_message_per_element_in_order() -> None:
    outcome = run_transform(Split, {}, [[message(["a", {"b": 1}, None], topic="x", qos=1)]])

    assert ["a", {"b": 1}, None] == outcome.payloads()
    assert [("x", START, 1)] * 3 == [(one.topic, one.time, one.seq) for one in outcome.out]
    assert {"qos": 1, "index": 1, "count": 3} == outcome.out[1].meta
    assert outcome.context.counters.created == 2


def test_a_mapping_becomes_a_message_per_member() -> None:
    rooms = {"hall": {"t": 20}, "attic": {"t": 15}}

    outcome = run_transform(Split, {"of": "payload.rooms"}, [[message({"rooms": rooms})]])

    assert [{"t": 20}, {"t": 15}] == outcome.payloads()
    assert ["hall", "attic"] == [one.meta["key"] for one in outcome.out]


@pytest.mark.parametrize("nothing", [[], {}], ids=["list", "mapping"])
def test_what_is_empty_is_filtered(nothing: Any) -> None:
    outcome = run_transform(Split, {}, [[message(nothing), message([1])]])

    assert [1] == outcome.payloads()
    assert outcome.context.counters.filtered == 1


@pytest.mark.parametrize(
    ("payload", "kind"),
    [("text", "a string"), (5, "a number"), (None, "null")],
    ids=["text", "number", "null"],
)
def test_what_has_no_elements_fails(payload: Any, kind: str) -> None:
    outcome = run_transform(Split, {}, [[message(payload)]])

    assert [f"`of` must be a list or a mapping, got {kind}"] == outcome.reasons


def test_a_list_of_the_expression_s_own_making() -> None:
    outcome = run_transform(Split, {"of": "payload.map(x, x * 2)"}, [[message([1, 2])]])

    assert [2, 4] == outcome.payloads()
