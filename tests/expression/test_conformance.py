"""CEL as its language definition has it, on JSON values, and asked of an independent implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import celpy
import pytest
from celpy.adapter import CELJSONEncoder, json_to_cel
from celpy.evaluation import CELEvalError
from pydantic_core import PydanticCustomError

from flowrunner import EVALUATION_ERRORS, Expression, Message

PAYLOAD = {
    "i": 7,
    "f": 21.5,
    "s": "text",
    "t": True,
    "none": None,
    "one": 1,
    "zero": 0,
    "l": [1, 2, 3],
    "zeros": [0, 1],
    "m": {"x": 1, "y": 2},
    "a-b": 5,
    "big": 2**63 - 1,
    "small": -(2**63),
    "huge": 1e200,
    "paren": "(",
}
MESSAGE = Message("zigbee2mqtt/kitchen", PAYLOAD, 1_772_359_200_000_000_000)


def _cases(*, for_oracle: bool) -> list[Any]:
    section, cases = "", []
    text = (Path(__file__).parent / "data" / "conformance.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") if line.endswith("]") and "=>" not in line else section
        if "=>" not in line or line.startswith("#") or (for_oracle and line.startswith("~")):
            continue
        source, _, expected = line.removeprefix("~").strip().rpartition(" => ")
        cases.append(pytest.param(source, expected, id=f"{section}: {source}"))
    return cases


def _outcome(source: str) -> str:
    try:
        expression = Expression(source)
    except PydanticCustomError as error:
        return error.type
    try:
        return _shown(expression.function(MESSAGE))
    except EVALUATION_ERRORS:
        return "error"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _canonical(expected: str) -> str:
    return expected if expected == "error" or expected.startswith("FR") else _shown(json.loads(expected))


@pytest.mark.parametrize(("source", "expected"), _cases(for_oracle=False))
def test_an_expression_has_the_value_that_cel_gives_it(source: str, expected: str) -> None:
    assert _canonical(expected) == _outcome(source)


@pytest.mark.parametrize(("source", "expected"), _cases(for_oracle=True))
def test_cel_python_agrees(source: str, expected: str) -> None:
    assert _canonical(expected) == _oracle(source)


def _oracle(source: str) -> str:
    environment = celpy.Environment()
    program = environment.program(environment.compile(source))
    activation = {"payload": json_to_cel(PAYLOAD), "topic": json_to_cel(MESSAGE.topic)}
    try:
        return _shown(json.loads(json.dumps(program.evaluate(activation), cls=CELJSONEncoder)))
    except CELEvalError:
        return "error"


def test_there_are_enough_cases_and_the_oracle_is_asked_for_most() -> None:
    everything, asked = len(_cases(for_oracle=False)), len(_cases(for_oracle=True))

    assert everything >= 350
    assert asked >= 180
