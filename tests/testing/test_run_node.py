"""``run_node``: one transform in the real engine."""

import pytest
from pydantic import ValidationError

from flowrunner import NANOSECONDS, FlowrunnerError, Message
from flowrunner.testing import run_node

START = 1_772_359_200 * NANOSECONDS


def test_what_leaves_every_port_is_returned() -> None:
    values = [1, 3, "x"]
    inputs = [
        Message("a", value, START + number * NANOSECONDS, {"qos": 1}) for number, value in enumerate(values)
    ]

    ports = run_node("filter", {"where": "payload > 1"}, inputs)

    assert {"out": [3], "rejected": [1], "errors": ["x"]} == {
        port: [message.payload for message in messages] for port, messages in ports.items()
    }
    assert START + NANOSECONDS == ports["out"][0].clock
    assert {"qos": 1} == ports["out"][0].meta


def test_time_goes_on_after_the_last_message() -> None:
    options = {"key": "topic", "every": "10s", "emit": "last"}
    inputs = [Message("a", 1, time=0, clock=START)]

    assert [START + 10 * NANOSECONDS] == [
        found.clock for found in run_node("throttle", options, inputs)["out"]
    ]
    assert [] == run_node("throttle", options, inputs, after="9s")["out"]


def test_no_messages_are_no_messages() -> None:
    assert {"out": [], "rejected": [], "errors": []} == run_node("filter", {"where": "true"}, [])


@pytest.mark.parametrize("type", ["no_such_type", "mqtt_in"])
def test_only_transforms_can_be_run(type: str) -> None:
    with pytest.raises(FlowrunnerError, match=f"there is no transform `{type}`"):
        run_node(type, {}, [])


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValidationError):
        run_node("throttle", {}, [])
