"""Expressions, values and calls as options of a node."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from flowrunner import (
    EVALUATION_ERRORS,
    Expression,
    FunctionCall,
    Message,
    MessageError,
    Options,
    Value,
)

MESSAGE = Message("kitchen", {"temperature": 21.5, "state": "on", "list": [1, True]}, 5, {"qos": 1})


class Config(Options):
    where: Expression = Expression("true")
    tags: dict[str, Value] = {}  # noqa: RUF012  # pydantic copies it
    field: FunctionCall | None = None


def _refused(kind: Any, source: Any) -> dict[str, Any]:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(source)
    (error,) = raised.value.errors()
    return {"code": error["type"], **error["ctx"]}


def test_options_are_made_from_yaml_values_and_dumped_as_them() -> None:
    source = {
        "where": "payload.temperature > 20",
        "tags": {"sensor": "=topic", "room": 7},
        "field": "count()",
    }

    config = Config.model_validate(source)

    assert config.where.evaluate(MESSAGE) is True
    assert [value.evaluate(MESSAGE) for value in config.tags.values()] == ["kitchen", 7]
    assert config.model_dump() == source


def test_an_option_that_is_already_made_is_taken() -> None:
    where = Expression("topic == 'kitchen'")

    assert Config(where=where).where is where


def test_the_json_schema_says_cel() -> None:
    properties = Config.model_json_schema()["properties"]

    assert properties["where"]["format"] == "cel"
    assert properties["where"]["type"] == ["string", "boolean", "number"]
    assert properties["field"]["anyOf"][0] == {"type": "string", "format": "cel"}
    assert properties["tags"]["additionalProperties"] is True


@pytest.mark.parametrize(
    ("source", "text", "value"),
    [(True, "true", True), (False, "false", False), (5, "5", 5), (-1.5, "-1.5", -1.5)],
)
def test_a_constant_may_be_written_as_yamls_own(source: Any, text: str, value: Any) -> None:
    expression = Expression(source)

    assert (text, value, True) == (expression.source, expression.constant, expression.is_constant)


@pytest.mark.parametrize("source", [None, [1], {"a": 1}])
def test_an_expression_is_no_collection(source: Any) -> None:
    assert _refused(Expression, source)["code"] == "FR040"


def test_equality_hash_copies_and_repr_go_by_the_source() -> None:
    expression = Expression("topic")

    assert expression == Expression("topic") != Expression("payload")
    assert expression != Value("topic")
    assert {expression: 1}[Expression("topic")] == 1
    assert repr(expression) == "Expression('topic')"
    assert Value(1) != Value(True)
    for copied in (copy.deepcopy(expression), pickle.loads(pickle.dumps(expression))):
        assert copied == expression
        assert copied.evaluate(MESSAGE) == "kitchen"


@pytest.mark.parametrize(
    ("source", "constant"), [("1 + 1", True), ("[1].map(x, x)", True), ("payload.x", False), ("time", False)]
)
def test_an_expression_without_a_message_is_constant(source: str, constant: bool) -> None:
    assert constant is Expression(source).is_constant


@pytest.mark.parametrize(
    ("source", "value", "constant"),
    [
        ("text", "text", True),
        ("topic", "topic", True),
        ("", "", True),
        (1.5, 1.5, True),
        (None, None, True),
        (True, True, True),
        ([1, "a"], [1, "a"], True),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, True),
        ([], [], True),
        ({}, {}, True),
        ("=topic", "kitchen", False),
        ("= 1 + 1", 2, True),
        ("='=5'", "=5", True),
        (["=topic", 1], ["kitchen", 1], False),
        ({"a": ["=payload.temperature"], "b": "c"}, {"a": [21.5], "b": "c"}, False),
    ],
)
def test_a_value_is_a_literal_or_an_expression(source: Any, value: Any, constant: bool) -> None:
    made = Value(source)

    assert (value, constant, source) == (made.evaluate(MESSAGE), made.is_constant, made.source)


@pytest.mark.parametrize(
    ("source", "code", "offset"),
    [
        ("=payload.", "FR040", 8),
        ("=nothing", "FR041", 1),
        ("=", "FR040", 1),
        ({"a": ["=1 +"]}, "FR040", 0),
        (float("nan"), "FR046", 0),
        ([float("inf")], "FR046", 0),
    ],
)
def test_a_wrong_value_is_refused_at_its_place_in_the_text(source: Any, code: str, offset: int) -> None:
    refused = _refused(Value, source)

    assert (code, offset) == (refused["code"], refused["offset"])


def test_a_call_has_a_name_and_arguments_with_places() -> None:
    call = FunctionCall("quantile((payload.temperature + 1) * 2, 0.9)")

    assert call.name == "quantile"
    assert call.offsets == (9, 40)
    assert [argument.source for argument in call.arguments] == ["(payload.temperature + 1) * 2", "0.9"]
    assert [argument.is_constant for argument in call.arguments] == [False, True]
    assert call.arguments[0].evaluate(MESSAGE) == 45.0
    assert call.arguments[1].constant == 0.9
    assert FunctionCall("count()").arguments == ()


@pytest.mark.parametrize(
    ("source", "code", "offset"),
    [
        ("payload.temperature", "FR042", 0),
        ("mean(x) + 1", "FR042", 0),
        ("payload.mean()", "FR042", 0),
        (5, "FR042", 0),
        ("mean(payload.temperature", "FR040", 4),
        ("mean(temprature)", "FR041", 5),
        ("quantile(payload.x, 'a' * 2)", "FR046", 20),
    ],
)
def test_a_wrong_call_is_refused(source: Any, code: str, offset: int) -> None:
    refused = _refused(FunctionCall, source)

    assert (code, offset) == (refused["code"], refused["offset"])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("payload.humidity", "`payload.humidity`: there is no field `humidity`"),
        ("payload.humidity > 5 || topic == 'x'", "`payload.humidity`: there is no field `humidity`"),
        ("topic == 'x' || payload.a.b", "`payload.a`: there is no field `a`"),
        ("payload.state.x", "`payload.state.x`: `payload.state` is not an object"),
        ("payload.state > 5", "`payload.state > 5`: `>` wants two numbers or two strings"),
        ("payload.list[1] > 5", "`payload.list[1] > 5`: a number is wanted, got a bool"),
        ("payload.list[2]", "`payload.list[2]`: the list has 2 items, there is no number 2"),
        ("number(payload.state)", "`number(payload.state)`: 'on' is not a number"),
        ("payload.state ? 1 : 2", "`payload.state`: a condition must be true or false, got a string"),
        (
            "payload.list.all(x, x > 0)",
            "`x > 0`: `>` wants two numbers or two strings, got a bool and a number",
        ),
        ("time / 0", "`time / 0`: division by zero"),
        ("payload.list[1e300]", "`payload.list[1e300]`: the list has 2 items, there is no number 1e+300"),
        ("getHours(time * 1000000000000, 'UTC')", None),
        (
            "payload." + "x" * 100,
            "`payload." + "x" * 71 + "…`: there is no field `" + "x" * 39 + "…`",
        ),
    ],
)
def test_the_reason_names_the_part_that_failed(source: str, reason: str | None) -> None:
    if reason is None:
        assert Expression(source).evaluate(MESSAGE) == 1
        return
    with pytest.raises(MessageError) as raised:
        Expression(source).evaluate(MESSAGE)

    assert reason == str(raised.value)


def test_the_reason_of_a_value_is_that_of_the_expression_that_failed() -> None:
    value = Value({"a": "=topic", "b": "=payload.humidity"})

    with pytest.raises(MessageError, match=r"^`payload\.humidity`: there is no field `humidity`$"):
        value.evaluate(MESSAGE)


def test_a_function_raises_only_evaluation_errors_and_the_reason_survives_odd_ones() -> None:
    expression = Expression("payload.deep == payload.deep")
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(EVALUATION_ERRORS) as raised:
        expression.function(Message("", {"deep": deep}, 0))

    assert "nested too deeply" in expression.reason(raised.value)
    assert expression.reason(OverflowError()).endswith("the number is out of range")
    assert Value("=topic").reason(ValueError("elsewhere")) == "elsewhere"
    while deep:
        deep = deep.pop()
