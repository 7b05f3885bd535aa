"""The values that an expression read, for people."""

from __future__ import annotations

import pytest

from flowrunner import Json, Message
from flowrunner.expression.operands import operands

MESSAGE = Message("a/b", {"t": 20.5, "on": True, "tags": ["x", "y"]}, 5, {"qos": 1})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("payload.t > 3.0 && topic == 'a/b'", {"payload.t": 20.5, "topic": "a/b"}, id="fields"),
        pytest.param("payload['t'] + payload.tags[0]", {"payload['t']": 20.5, "payload.tags[0]": "x"}, id="index"),
        pytest.param("payload.t > payload.t", {"payload.t": 20.5}, id="once"),
        pytest.param("payload.nix > 1", {}, id="not-there"),
        pytest.param("payload.tags.exists(tag, tag == 'x')", {"payload.tags": ["x", "y"]}, id="macro"),
        pytest.param("round(meta.qos, 1) > 0", {"meta.qos": 1}, id="call"),
        pytest.param("true", {}, id="constant"),
    ],
)  # fmt: skip
def test_the_fields_of_an_expression_and_their_values(source: str, expected: dict[str, Json]) -> None:
    assert expected == operands(source, MESSAGE)


def test_many_fields_are_cut() -> None:
    message = Message("", {f"f{number}": number for number in range(20)}, 0)
    source = " + ".join(f"payload.f{number}" for number in range(20))

    assert 12 == len(operands(source, message))
