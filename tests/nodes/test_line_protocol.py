"""The encoder of line protocol: what it writes reads back the same, what cannot be written it refuses."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner import Message, MessageError
from flowrunner_nodes import _remember
from flowrunner_nodes._line_protocol import LineEncoder
from flowrunner_nodes._point_options import PointOptions
from tests.nodes.line_protocol_parser import Point, parse

TIME = 1_772_359_200_000_000_000


def encoder(precision: str = "ns", **given: Any) -> LineEncoder:
    options = {"type": "test", "measurement": "m", **given}
    return LineEncoder(PointOptions.model_validate(options), precision)


def line(payload: Any, *, topic: str = "t", time: int = TIME, precision: str = "ns", **given: Any) -> str:
    """Encode twice with one encoder: what it remembers must not change what it writes."""
    subject = encoder(precision, **given)
    first, second = (subject.line(Message(topic, payload, time)) for _ in range(2))
    assert first == second
    return first


def test_the_line_of_the_specification() -> None:
    payload = {"mean": 21.0, "max": 22.0, "samples": 2}

    written = line(payload, topic="zigbee2mqtt/kitchen", measurement="climate", tags={"sensor": "=topic"})

    assert written == "climate,sensor=zigbee2mqtt/kitchen max=22,mean=21,samples=2 1772359200000000000"


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        pytest.param({"a": 21}, "a=21", id="an int of JSON is a float"),
        pytest.param({"a": 21.0}, "a=21", id="so is a float"),
        pytest.param({"a": 0.1}, "a=0.1", id="shortest text"),
        pytest.param({"a": -0.0}, "a=-0", id="negative zero"),
        pytest.param({"a": 1e22}, "a=1e+22", id="exponent"),
        pytest.param({"a": 2**63}, "a=9.223372036854776e+18", id="beyond 64 bits"),
        pytest.param({"a": True, "b": False}, "a=true,b=false", id="bools"),
        pytest.param({"b": 1, "a": True, "B": 2.5}, "B=2.5,a=true,b=1", id="sorted by name"),
        pytest.param({"a": "x"}, 'a="x"', id="string"),
        pytest.param({"a": ""}, 'a=""', id="empty string"),
        pytest.param({"a": 'say "hi" \\'}, 'a="say \\"hi\\" \\\\"', id="quotes and backslashes"),
        pytest.param({"a": "1\r\n2\r3\n4"}, 'a="1 2 3 4"', id="line breaks become spaces"),
        pytest.param({"a": 1, "b": None, "c": [1]}, "a=1", id="null and lists are left out"),
        pytest.param({"a": 1, "b": math.nan, "c": -math.inf}, "a=1", id="what is not finite is left out"),
        pytest.param(
            {"c": {"x": 1, "y": {"z": 2}}, "d": 3}, "c_x=1,c_y_z=2,d=3", id="mappings are flattened"
        ),
        pytest.param(21.5, "value=21.5", id="a payload that is a number"),
        pytest.param("on", 'value="on"', id="a payload that is a string"),
        pytest.param(True, "value=true", id="a payload that is a bool"),
        pytest.param({"a b,c=d": 1}, "a\\ b\\,c\\=d=1", id="escaped name"),
        pytest.param({"100 %": 1.0}, "100\\ %=1", id="percent sign"),
        pytest.param(
            {"x=True": True, "x.0,": 1.0}, "x.0\\,=1,x\\=True=true", id="a name that reads like a value"
        ),
    ],
)
def test_fields_of_a_payload(payload: Any, fields: str) -> None:
    assert line(payload) == f"m {fields} {TIME}"


@pytest.mark.parametrize(
    ("value", "kind", "field"),
    [
        pytest.param(21, "int", "21i", id="int"),
        pytest.param(21.0, "int", "21i", id="integral float to int"),
        pytest.param("-21", "int", "-21i", id="text to int"),
        pytest.param(2**63 - 1, "int", "9223372036854775807i", id="largest int"),
        pytest.param(-(2**63), "int", "-9223372036854775808i", id="smallest int"),
        pytest.param(21, "float", "21", id="float"),
        pytest.param("21.50", "float", "21.5", id="text to float"),
        pytest.param(21.5, "string", '"21.5"', id="number to string"),
        pytest.param(True, "string", '"true"', id="bool to string"),
        pytest.param("x", "string", '"x"', id="string"),
        pytest.param("false", "bool", "false", id="text to bool"),
        pytest.param(True, "bool", "true", id="bool"),
    ],
)
def test_a_declared_type_is_what_is_written(value: Any, kind: str, field: str) -> None:
    assert line({"a": value, "b": 1}, types={"a": kind}) == f"m a={field},b=1 {TIME}"
    assert line({"a": None, "b": 1}, types={"a": kind}) == f"m b=1 {TIME}"


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        pytest.param(21.5, "int", "field `a` must be an int, got 21.5", id="fraction"),
        pytest.param(True, "int", "field `a` must be an int, got True", id="bool to int"),
        pytest.param("21.0", "int", "field `a` must be an int, got '21.0'", id="text of a float to int"),
        pytest.param("9" * 19, "int", "field `a` does not fit into 64 bits", id="text beyond 64 bits"),
        pytest.param(1e300, "int", "field `a` does not fit into 64 bits", id="float beyond 64 bits"),
        pytest.param("nan", "float", "field `a` must be a float, got 'nan'", id="nan"),
        pytest.param("1_0", "float", "field `a` must be a float, got '1_0'", id="underscore"),
        pytest.param(False, "float", "field `a` must be a float, got a bool", id="bool to float"),
        pytest.param(10**400, "float", "field `a` is too large for a float", id="too large"),
        pytest.param([1], "string", "field `a` must be a string, got a list", id="list to string"),
        pytest.param(1, "bool", "field `a` must be a bool, got 1", id="number to bool"),
        pytest.param("yes", "bool", "field `a` must be a bool, got 'yes'", id="yes"),
    ],
)
def test_a_value_that_is_not_of_the_declared_type_fails(value: Any, kind: str, reason: str) -> None:
    with pytest.raises(MessageError, match=f"^{re.escape(reason)}$"):
        line({"a": value, "b": 1}, types={"a": kind})


def test_the_mean_of_alternating_types_is_one_type_when_declared() -> None:
    subject = encoder(types={"a": "float"})

    written = [subject.line(Message("t", {"a": value}, TIME)) for value in (21, 21.5, "21")]

    assert written == [f"m a=21 {TIME}", f"m a=21.5 {TIME}", f"m a=21 {TIME}"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"fields": {"x": "=payload.a + 1.0", "y": "on"}}, 'm x=2,y="on"', id="named fields"),
        pytest.param({"fields": {"x": "=null", "y": 1}}, "m y=1", id="a field that is null"),
        pytest.param({"fields": {"p": "=payload"}}, "m p_a=1", id="a field that is a mapping"),
        pytest.param({"tags": {"b": "=payload.a", "a": "=true"}}, "m,a=true,b=1 a=1", id="tags of all types"),
        pytest.param({"tags": {"a": "=null", "b": "", "c": 2.0}}, "m,c=2 a=1", id="tags that are left out"),
        pytest.param({"tags": {"measurement": "x"}}, "m,measurement=x a=1", id="a tag called measurement"),
        pytest.param({"measurement": "=topic + '=x, y'"}, "t=x\\,\\ y a=1", id="a computed measurement"),
    ],
)
def test_values_are_literals_or_expressions(given: dict[str, Any], expected: str) -> None:
    assert line({"a": 1.0}, **given) == f"{expected} {TIME}"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"fields": {"x": "=payload.missing"}}, "field `x`: .*missing", id="a field that fails"),
        pytest.param(
            {"fields": {"x": "=[1]"}}, "field `x` must be a number.* got a list", id="a list as a field"
        ),
        pytest.param({"tags": {"a": "=payload.missing"}}, "`tags.a`: .*missing", id="a tag that fails"),
        pytest.param(
            {"tags": {"a": "=[1]"}}, "`tags.a`: it must be a string.* got a list", id="a list as a tag"
        ),
        pytest.param(
            {"measurement": "={'a': 1}"}, "`measurement`: .* got a mapping", id="a mapping as measurement"
        ),
        pytest.param({"measurement": "=null"}, "the measurement is empty", id="null as measurement"),
    ],
)
def test_a_value_that_cannot_be_had_fails_by_its_name(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        line({"a": 1.0}, **given)


@pytest.mark.parametrize(
    ("given", "payload", "reason"),
    [
        pytest.param({}, {}, "the point has no field", id="no field"),
        pytest.param({}, None, "the point has no field", id="null"),
        pytest.param({}, [1, 2], "the point has no field", id="list"),
        pytest.param({}, {"a": math.nan}, "the point has no field", id="nothing finite"),
        pytest.param(
            {}, {"a": {"b": 1}, "a_b": 2}, "two members of the payload would both be", id="collision"
        ),
        pytest.param({}, {"a_b": 2, "a": {"b": 2**64}}, "two members of the payload", id="collision, large"),
        pytest.param({}, {"time": 1}, "a field cannot be called `time`", id="reserved field"),
        pytest.param({}, {"": 1}, "the field name is empty", id="empty field name"),
        pytest.param(
            {}, {"a\n": 1}, "the field name 'a\\\\n' contains a control character", id="newline in a name"
        ),
        pytest.param({}, {"a\\": 1}, "a backslash at its end", id="backslash at the end"),
        pytest.param({}, {"a\\,": 1}, "has a backslash", id="backslash before a comma"),
        pytest.param({}, {"a\\\\b": 1}, "has a backslash", id="two backslashes"),
        pytest.param({}, {"\ud800": 1}, "is not valid Unicode", id="surrogate in a name"),
        pytest.param({}, {"a": "\ud800"}, "field `a` is not valid Unicode", id="surrogate in a string"),
        pytest.param({}, {"a": "x" * 65_537}, "field `a` has 65537 bytes", id="long string"),
        pytest.param({}, {"a": "ä" * 32_769}, "field `a` has 65538 bytes", id="long string by its bytes"),
        pytest.param({}, {"a": b"x"}, "field `a` must be .* got bytes", id="bytes"),
        pytest.param({}, {"a": 10**400}, "field `a` is too large for a float", id="huge int"),
        pytest.param({"measurement": ""}, {"a": 1}, "the measurement is empty", id="empty measurement"),
        pytest.param({"measurement": "#m"}, {"a": 1}, "begins with #", id="comment"),
        pytest.param(
            {"measurement": "=payload.m"}, {"m": "a\nb f=1"}, "the measurement .* control", id="injection"
        ),
        pytest.param(
            {"tags": {"t": "x\ny"}}, {"a": 1}, "the tag `t` .* control character", id="newline in a tag"
        ),
        pytest.param(
            {"tags": {"t": "a\\"}}, {"a": 1}, "the tag `t` .* backslash", id="tag ends in a backslash"
        ),
        pytest.param({"tags": {"t": "x" * 65_535}}, {"a": 1}, "exceed 65535 bytes", id="long series"),
    ],
)
def test_what_line_protocol_cannot_carry_fails_with_the_reason(
    given: dict[str, Any], payload: Any, reason: str
) -> None:
    with pytest.raises(MessageError, match=reason):
        line(payload, **given)


def test_a_payload_that_is_nested_beyond_all_measure_fails() -> None:
    payload: Any = 1
    for _ in range(100_000):
        payload = {"a": payload}

    with pytest.raises(MessageError, match="nested too deeply"):
        line(payload)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("ns", TIME + 1), ("us", TIME // 10**3), ("ms", TIME // 10**6), ("s", TIME // 10**9)],
)
def test_timestamps_are_cut_to_the_precision(precision: str, expected: int) -> None:
    assert line({"a": 1}, time=TIME + 1, precision=precision) == f"m a=1 {expected}"


def test_a_time_before_1970_is_rounded_down() -> None:
    assert line({"a": 1}, time=-1, precision="s") == "m a=1 -1"


@pytest.mark.parametrize("time", [2**63 - 1, -(2**63), 2**70])
def test_a_time_that_influxdb_cannot_store_fails(time: int) -> None:
    with pytest.raises(MessageError, match="the years 1677 to 2262"):
        line({"a": 1}, time=time)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({"tags": {"time": "x"}}, "a tag cannot be called `time`", id="reserved tag"),
        pytest.param(
            {"tags": {"_field": "x"}}, "a tag cannot be called `_field`", id="reserved by version 2"
        ),
        pytest.param(
            {"tags": {"a\n": "x"}}, "the tag name 'a\\\\n' contains a control", id="control character"
        ),
        pytest.param({"fields": {"time": 1}}, "a field cannot be called `time`", id="reserved field"),
        pytest.param({"types": {"": "int"}}, "the field name is empty", id="empty field name"),
    ],
)
def test_names_in_the_options_are_checked_when_the_flow_is_loaded(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        encoder(**given)


def test_fields_cannot_be_an_empty_mapping() -> None:
    with pytest.raises(ValidationError, match="fields"):
        encoder(fields={})


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_remember, "ENTRIES", 3)
    subject = encoder(tags={"t": "=topic"})

    written = [subject.line(Message(f"t{index}", {f"a{index}": 1}, TIME)) for index in range(10)]

    assert written == [f"m,t=t{index} a{index}=1 {TIME}" for index in range(10)]
    assert (len(subject._series), len(subject._layouts)) == (3, 3)


def test_what_is_very_long_is_not_remembered() -> None:
    subject = encoder(tags={"t": "=topic"})

    written = subject.line(Message("t" * 10_000, {"a" * 10_000: 1}, TIME))

    assert written == f"m,t={'t' * 10_000} {'a' * 10_000}=1 {TIME}"
    assert (subject._series, subject._layouts) == ({}, {})


NAMES = st.text(min_size=1, max_size=12) | st.text(alphabet='ab,= \\"#%.0', min_size=1, max_size=8)
SCALARS = (
    st.floats()
    | st.integers(-(2**70), 2**70)
    | st.booleans()
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["x\nevil f=1", 'a"b', "\\", '\\"', "a=b,c d", "True"])
)


@given(
    NAMES,
    st.dictionaries(NAMES, NAMES | st.just(""), max_size=3),
    st.dictionaries(NAMES, SCALARS, min_size=1, max_size=5),
    st.integers(-(2**62), 2**62),
)
@example("m", {}, {"a": 1.0, "b=True": True, "c.0": 2.0}, 0)
@example("m=1, x", {"a b": "c\\d"}, {"a": "x\nevil f=1 1\n"}, 0)
@example("x\nevil f=1", {}, {"a": 1.0}, 0)
def test_a_line_reads_back_as_the_point_it_was_made_of(
    measurement: str, tags: dict[str, str], fields: dict[str, Any], time: int
) -> None:
    payload = {"m": measurement, "t": list(tags.values()), "f": list(fields.values())}
    given: dict[str, Any] = {
        "measurement": "=payload.m",
        "tags": {name: f"=payload.t[{index}]" for index, name in enumerate(tags)},
        "fields": {name: f"=payload.f[{index}]" for index, name in enumerate(fields)},
    }
    point = Point(measurement, {name: text for name, text in tags.items() if text}, _read_back(fields), time)

    try:
        written = encoder(**given).line(Message("t", payload, time))
    except (ValidationError, MessageError):
        assert not point.fields or any(map(_unwritable, _names(measurement, tags, fields)))
    else:
        assert parse(written) == [point]


@given(st.dictionaries(NAMES, SCALARS, min_size=1, max_size=5), st.dictionaries(NAMES, SCALARS, max_size=5))
def test_what_is_remembered_changes_nothing(first: dict[str, Any], second: dict[str, Any]) -> None:
    """The quick way for numbers, open once the names are known, writes what the thorough way writes."""
    subject = encoder()
    payloads = [
        first,
        second,
        dict.fromkeys(first, 1.5),
        first,
        dict(zip(first, second.values(), strict=False)),
    ]

    for payload in payloads:
        assert _line_or_reason(subject, payload) == _line_or_reason(encoder(), payload)


def _line_or_reason(subject: LineEncoder, payload: dict[str, Any]) -> str:
    try:
        return subject.line(Message("t", payload, TIME))
    except MessageError as error:
        return str(error)


def _read_back(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a database holds of such fields: numbers as floats, no line breaks, nothing that is not finite."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, str):
            kept[name] = re.sub("\r\n|\r|\n", " ", value)
        elif isinstance(value, bool):
            kept[name] = value
        elif math.isfinite(value):
            kept[name] = float(value)
    return kept


def _names(measurement: str, tags: dict[str, str], fields: dict[str, Any]) -> list[str]:
    reserved = "\n" if "time" in fields or {"time", "_field", "_measurement"} & tags.keys() else ""
    comment = "\n" if measurement.startswith("#") else ""
    return [measurement, *tags, *tags.values(), *fields, reserved, comment]


def _unwritable(name: str) -> bool:
    """Whether a name has a control character, or a backslash that an escape or a separator follows."""
    controls = any(ord(character) < 32 or ord(character) == 127 for character in name)
    pairs = zip(name, [*name[1:], ","], strict=False)
    return controls or any(this == "\\" and after in "\\,= " for this, after in pairs)
