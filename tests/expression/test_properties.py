"""Whatever the expression and the message: the reference agrees, and nothing but the announced errors is raised."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from flowrunner import EVALUATION_ERRORS, Expression, FunctionCall, Message, MessageError, Value
from flowrunner.expression.parser import parse
from tests.expression.reference import Failure, evaluate

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 7, 2**63 - 1, -(2**63)]),
    st.sampled_from([0.0, 1.0, -1.5, 0.5, 1e300]),
    st.sampled_from(["", "a", "on", "é"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.fixed_dictionaries(
    {"a": JSON, "b": JSON, "list": st.lists(SCALARS, max_size=4)}, optional={"c": JSON}
)
LITERALS = ["0", "1", "2", "1.0", "0.5", "-1", "'a'", "'on'", "true", "null"]
NAMES = [
    "payload.a",
    "payload.b",
    "payload.c",
    "payload.list",
    "payload",
    "x",
    "x",
    "topic",
    "time",
    "meta.q",
]
LEAVES = st.sampled_from([*LITERALS, *NAMES, *NAMES, *NAMES])
BINARY = st.sampled_from(["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "in"])
MACROS = st.sampled_from(["all", "exists", "exists_one", "map", "filter"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, BINARY, inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("{}{}".format, st.sampled_from(["!", "-"]), inner.map("({})".format)),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{'k': {}}}".format, inner),
        st.builds("({}).{}".format, inner, st.sampled_from(["a", "k"])),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({}).{}(x, {})".format, inner, MACROS, inner),
        st.builds("has(({}).a)".format, inner),
        st.builds("default({}, {})".format, inner, inner),
        st.builds("size({})".format, inner),
    )


EXPRESSIONS = st.recursive(LEAVES, _larger, max_leaves=10).map("[null].map(x, {})[0]".format)


def _same(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@settings(max_examples=300, deadline=None)
@given(source=EXPRESSIONS, payload=PAYLOADS)
def test_the_compiled_expression_agrees_with_the_reference(source: str, payload: dict[str, Any]) -> None:
    message = Message("on", payload, 7, {"q": 1})
    names = {"payload": payload, "topic": "on", "time": 7, "meta": {"q": 1}}
    bare = source.removeprefix("[null].map(x, ").removesuffix(")[0]")
    for text in (source, re.sub(r"\bx\b", "time", bare)):
        _compare(text, message, names)


def _compare(text: str, message: Message, names: dict[str, Any]) -> None:
    expression = _built(Expression, text)
    if isinstance(expression, PydanticCustomError):
        assert expression.type in ("FR041", "FR042", "FR046")
        return
    try:
        expected = _same(evaluate(parse(text), names))
    except Failure:
        with pytest.raises(EVALUATION_ERRORS) as raised:
            expression.function(message)
        assert expression.reason(raised.value).startswith("`")
        return
    assert expected == _same(expression.function(message))


def _built[T](kind: Callable[[str], T], text: str) -> T | PydanticCustomError:
    try:
        return kind(text)
    except PydanticCustomError as refused:
        return refused


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60)
    | st.text(alphabet="payload.topic()[]{}'\"\\+-*/%<>=!&|?:,0123456789abrx \n", max_size=60)
)
def test_any_text_is_an_expression_or_a_diagnostic(text: str) -> None:
    for kind in (Expression, Value, FunctionCall):
        option = _built(kind, text)
        if isinstance(option, PydanticCustomError):
            context = option.context or {}
            assert option.type.startswith("FR04")
            assert 0 <= context["offset"] <= len(text)
            assert context["length"] is None or context["length"] >= 0
        else:
            assert option.source == text


WORDS = (  # noqa: SIM905  # easier to read than 38 quoted words
    "payload topic . a ( ) [ ] { } , : ? 1 1.5 'a' x in ! - + * / % < == && || "
    "map all has size default matches split null"
).split()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join), PAYLOADS)
def test_words_in_any_order_raise_nothing_unannounced(text: str, payload: dict[str, Any]) -> None:
    expression = _built(Expression, text)
    if isinstance(expression, PydanticCustomError):
        assert expression.type.startswith("FR04")
        return
    try:
        value = expression.evaluate(Message("topic", payload, 0))
    except MessageError as error:
        value = str(error)
    json.dumps(value, allow_nan=False)
