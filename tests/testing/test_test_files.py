"""Test files: what may stand in them, and what is said when something may not."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import ValidationError

from flowrunner.message import NANOSECONDS
from flowrunner.reference.schema import schema_of_tests
from flowrunner.testing.model import FaultStep, FileStep, MessageStep, SinkFault
from flowrunner.testing.model import TestFile as FileModel

SCHEMA = Draft7Validator(schema_of_tests(FileModel))

FILE = yaml.safe_load("""\
flow: climate.yaml
tests:
  - name: one point a minute, the mean weighted by time
    start: '2026-03-01T10:00:00Z'
    input:
      - { at: 0s, node: zigbee, topic: zigbee2mqtt/kitchen, payload: { temperature: 20.0 } }
      - { at: 30s, node: zigbee, payload: null, time: '2026-03-01T11:00:29.5+01:00', meta: { retain: true } }
      - { at: 1m, fault: { sink: store, status: 429, for: 10m } }
      - { at: 1m, fault: { source: states, disconnected: 2m } }
      - { at: 90s, reload: other.yaml }
      - { at: 100s, crash: true }
      - { at: 110s, file: recorded.jsonl }
      - { at: 2m, advance: true }
    expect:
      - { node: store, at: 70s, line: "climate,sensor=kitchen max=22 1772359200000000000" }
      - { node: store, payload: { mean: 21.0, max: "~22" }, topic: kitchen, time: '2026-03-01T10:00:00Z' }
      - { node: valid.rejected, message: { topic: a, payload: 1 } }
      - { node: store, count: 3 }
      - { node: dead, none: true }
""")


def with_step(step: Any) -> dict[str, Any]:
    document: dict[str, Any] = deepcopy(FILE)
    document["tests"][0]["input"] = step
    return document


def with_expectation(expectation: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = deepcopy(FILE)
    document["tests"][0]["expect"] = [expectation]
    return document


def refusals(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        FileModel.model_validate(document)
    return [error["msg"] for error in refused.value.errors()]


def test_every_kind_of_step_and_expectation_is_read() -> None:
    (only,) = FileModel.model_validate(FILE).tests

    assert only.start == int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()) * NANOSECONDS
    assert isinstance(only.input, list)
    assert [0, 30, 60, 60, 90, 100, 110, 120] == [step.at // NANOSECONDS for step in only.input]
    message, fault = only.input[1], only.input[2]
    assert isinstance(message, MessageStep)
    assert only.start + 29_500_000_000 == message.time
    assert isinstance(fault, FaultStep)
    assert isinstance(fault.fault, SinkFault)
    assert (429, 600 * NANOSECONDS) == (fault.fault.status, fault.fault.for_)


def test_the_schema_accepts_what_the_model_accepts() -> None:
    assert [] == [error.message for error in SCHEMA.iter_errors(FILE)]


def test_a_recording_can_be_the_input_and_the_start_be_left_out() -> None:
    document = with_step({"file": "recorded.jsonl"})
    del document["tests"][0]["start"]
    (only,) = FileModel.model_validate(document).tests

    assert FileStep(file="recorded.jsonl") == only.input
    assert only.start == int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * NANOSECONDS


@pytest.mark.parametrize(
    ("step", "words"),
    [
        pytest.param({"at": "1s"}, "a step needs one of `node`", id="nothing happens"),
        pytest.param("1s", "a step needs one of `node`", id="no mapping"),
        pytest.param({"at": 1, "crash": True}, "needs a unit, got 1", id="no unit"),
        pytest.param({"at": "1s", "crash": False}, "Input should be True", id="no crash"),
        pytest.param({"at": "1s", "node": "a", "crash": True}, "Extra inputs", id="two things at once"),
        pytest.param({"at": "1s", "fault": {"for": "1s"}}, "needs `sink` or `source`", id="fault of nothing"),
        pytest.param(
            {"at": "1s", "fault": {"sink": "a", "for": "0s"}}, "more than zero", id="fault of no length"
        ),
        pytest.param(
            {"at": "1s", "fault": {"sink": "a", "status": 200, "for": "1s"}}, "400", id="fault that is none"
        ),
        pytest.param({"at": "1s", "node": "Zigbee"}, "cannot be a name", id="bad name"),
        pytest.param({"at": "1s", "node": "a", "time": "10:00"}, "is not a time: '10:00'", id="no date"),
        pytest.param({"at": "1s", "node": "a", "time": 5}, "is not a time: 5", id="time as a number"),
        pytest.param(
            {"at": "1s", "node": "a", "time": "2026-03-01T10:00"}, "needs a time zone", id="no zone"
        ),
    ],
)
def test_a_wrong_step_is_refused_with_one_reason(step: Any, words: str) -> None:
    (refusal,) = refusals(with_step([step]))

    assert words in refusal


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        pytest.param({"node": "store"}, "nothing is expected of `store`", id="nothing"),
        pytest.param(
            {"node": "store", "count": 1, "none": True}, "`count` and `none` are two", id="two things"
        ),
        pytest.param(
            {"node": "store", "line": "a b=1", "payload": 1}, "`line` and `parts of a message`", id="both"
        ),
        pytest.param({"node": "store", "at": "1s", "count": 1}, "`at` does not go with `count`", id="when"),
        pytest.param({"node": "store.a.b", "count": 1}, "String should match", id="no port"),
        pytest.param({"node": "store", "count": -1}, "greater than or equal to 0", id="negative count"),
    ],
)
def test_a_wrong_expectation_is_refused_with_one_reason(expectation: dict[str, Any], words: str) -> None:
    (refusal,) = refusals(with_expectation(expectation))

    assert words in refusal


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(with_step([{"at": "1s"}]), id="nothing happens"),
        pytest.param(with_step([{"at": 1, "crash": True}]), id="no unit"),
        pytest.param(with_step([{"at": "1s", "fault": {"for": "1s"}}]), id="fault of nothing"),
        pytest.param(with_expectation({"node": "a", "cuont": 1}), id="unknown word"),
        pytest.param({"flow": "a.yaml", "tests": []}, id="no test"),
    ],
)
def test_the_schema_refuses_what_the_model_refuses(document: dict[str, Any]) -> None:
    assert not SCHEMA.is_valid(document)
    with pytest.raises(ValidationError):
        FileModel.model_validate(document)
