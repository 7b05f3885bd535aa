"""The pure rules of `layout: home_assistant` against statements of them that are simple and slow."""

from __future__ import annotations

import fnmatch
import math
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowrunner import Message, MessageError
from flowrunner_nodes import _remember
from flowrunner_nodes._ha_layout import HomeAssistantEncoder
from flowrunner_nodes._ha_layout_entities import Entities, entity_filter
from flowrunner_nodes._ha_layout_fields import LeftOut, has_number, state_fields
from flowrunner_nodes._ha_layout_options import EntitySelection, HomeAssistantOptions
from tests.nodes.line_protocol_parser import parse

_DIGIT_TAIL = re.compile(r"^[^\.]*\d+\.?\d+[^\.]*$")
"""The pattern of Home Assistant."""

_WORDS = st.text(alphabet="01.9 -aV٣\n", max_size=12)


@given(_WORDS)
@example("12")
@example("1.2")
@example("1.2.3")
def test_a_text_has_a_number_when_home_assistant_says_so(text: str) -> None:
    assert (_DIGIT_TAIL.match(text) is not None) == has_number(text)


def test_a_long_text_costs_no_more_than_its_length() -> None:
    text = "1" * 1_000_000 + ".."

    began = time.perf_counter()

    assert not has_number(text)
    assert 0.5 > time.perf_counter() - began


@given(
    st.one_of(
        st.floats().map(str), _WORDS, st.sampled_from(["1_000", " 12 ", "nan", "-inf", "1__0", "1e400"])
    )
)
def test_a_state_is_a_number_when_python_says_so(state: str) -> None:
    try:
        expected = float(state)
    except ValueError:
        assert isinstance(state_fields(state)["state"], str)
    else:
        assert repr({"value": expected}) == repr(state_fields(state))


_NAMES = ["light.a", "light.b", "sensor.a", "sensor.b"]
_SELECTIONS = st.builds(
    EntitySelection,
    domains=st.lists(st.sampled_from(["light", "sensor"]), max_size=1),
    entity_globs=st.lists(st.sampled_from(["light.*", "*.a", "sensor.[ab]", "*.?"]), max_size=2),
    entities=st.lists(st.sampled_from(_NAMES), max_size=2),
)


def _by_the_book(include: EntitySelection, exclude: EntitySelection, name: str) -> bool:
    """Decide as the six cases in Home Assistant's documentation do, one after the other."""

    def by_domain(selection: EntitySelection) -> bool:
        return name.split(".", maxsplit=1)[0] in selection.domains

    def by_glob(selection: EntitySelection) -> bool:
        return any(fnmatch.fnmatchcase(name, glob) for glob in selection.entity_globs)

    any_include, any_exclude = (
        any((one.domains, one.entity_globs, one.entities)) for one in (include, exclude)
    )
    if not any_include and not any_exclude:
        return True
    if any_include and not any_exclude:
        return name in include.entities or by_domain(include) or by_glob(include)
    if not any_include:
        return not (name in exclude.entities or by_domain(exclude) or by_glob(exclude))
    if name in include.entities:
        return True
    if include.domains or include.entity_globs:
        if name in exclude.entities:
            return False
        if by_glob(include):
            return True
        return not by_glob(exclude) and by_domain(include)
    if exclude.domains or exclude.entity_globs:
        return not (name in exclude.entities or by_glob(exclude) or by_domain(exclude))
    return False


@given(_SELECTIONS, _SELECTIONS)
def test_entities_are_written_by_the_book(include: EntitySelection, exclude: EntitySelection) -> None:
    subject = entity_filter(include, exclude)

    assert [_by_the_book(include, exclude, name) for name in _NAMES] == [subject(name) for name in _NAMES]


@pytest.mark.parametrize(
    ("include", "exclude", "written"),
    [
        pytest.param({}, {}, "light.a light.b sensor.a sensor.b", id="no filter"),
        pytest.param({"domains": ["light"], "entities": ["Sensor.A"]}, {}, "light.a light.b sensor.a", id="only include"),
        pytest.param({}, {"domains": ["light"], "entity_globs": ["*.b"]}, "sensor.a", id="only exclude"),
        pytest.param({"domains": ["light"]}, {"entity_globs": ["*.b"]}, "light.a", id="an excluding glob before an including domain"),
        pytest.param({"entity_globs": ["*.b"]}, {"domains": ["light"]}, "light.b sensor.b", id="an including glob before an excluding domain"),
        pytest.param({"entity_globs": ["*.b"]}, {"entities": ["light.b"]}, "sensor.b", id="an excluded entity before an including glob"),
        pytest.param({"entities": ["light.b"]}, {"domains": ["light"]}, "light.b sensor.a sensor.b", id="excluding domains leave the rest"),
        pytest.param({"entities": ["light.b"]}, {"entities": ["light.b"]}, "light.b", id="an included entity before all"),
        pytest.param({"entities": ["light.b"]}, {"entities": ["light.b"], "domains": ["sensor"]}, "light.a light.b", id="as 2026.11 has it"),
    ],
)  # fmt: skip
def test_which_entities_are_written(include: dict[str, Any], exclude: dict[str, Any], written: str) -> None:
    subject = entity_filter(EntitySelection.model_validate(include), EntitySelection.model_validate(exclude))

    assert written.split() == [name for name in _NAMES if subject(name)]


def test_what_is_remembered_of_entities_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entities, "_REMEMBERED", 2)
    subject = Entities(HomeAssistantOptions.model_validate({"exclude": {"entities": ["sensor.b"]}}))

    assert [True, False, True, True, False] == [subject.get(f"sensor.{name}").written for name in "abcab"]


_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\\"), max_size=8)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), _TEXT, _WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=6,
)
_ATTRIBUTE = st.text(alphabet="abc_ ,=", min_size=1, max_size=5)


@given(st.dictionaries(_ATTRIBUTE, _VALUES, max_size=5), _TEXT, st.sampled_from(["", "W", "a b", "x,y=z"]))
def test_every_line_reads_back_as_one_point(attributes: dict[str, Any], state: str, unit: str) -> None:
    message = Message(
        "t",
        {"entity_id": "sensor.t", "state": state, "attributes": {"unit_of_measurement": unit, **attributes}},
        1,
    )
    try:
        line = HomeAssistantEncoder(HomeAssistantOptions(), "ns").line(message)
    except LeftOut:
        return

    assert not re.search(r"[\r\n]", line)
    [point] = parse(line)
    assert (unit or "sensor.t", {"domain": "sensor", "entity_id": "t"}, 1) == (
        point.measurement,
        point.tags,
        point.time,
    )
    assert all(not isinstance(value, float) or math.isfinite(value) for value in point.fields.values())


_COLLIDING = st.sampled_from(
    ["value", "state", "value_", "state_str", "time", "%s", "a=b", "unit_of_measurement"]
)
_STATES = st.sampled_from(["1", "2.5", "on", "open %", "nan", "-inf", "word", "unknown"])
_ALIKE = st.sampled_from(
    [1, 1.0, True, 0.0, -0.0, False, "1", [1], [True], None, float("nan"), 2**70, "%", "\ud800"]
)


@given(
    st.lists(
        st.tuples(_STATES, st.dictionaries(_COLLIDING | _ATTRIBUTE, _ALIKE | _VALUES, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([[], ["value"]]),
)
def test_what_is_remembered_of_an_entity_changes_nothing(
    states: list[tuple[str, dict[str, Any]]], tags: list[str]
) -> None:
    options = HomeAssistantOptions.model_validate({"tags_attributes": tags})
    subject = HomeAssistantEncoder(options, "ns")

    for state, attributes in (*states, *states, *((state, states[0][1]) for state, _ in states)):
        fresh = HomeAssistantEncoder(options, "ns")
        assert _line_or_reason(fresh, state, attributes) == _line_or_reason(subject, state, attributes)


def _line_or_reason(subject: HomeAssistantEncoder, state: str, attributes: dict[str, Any]) -> str:
    payload = {"entity_id": "sensor.t", "state": state, "attributes": attributes}
    try:
        return subject.line(Message("t", payload, 1))
    except (LeftOut, MessageError) as error:
        return repr(error)


def test_what_is_remembered_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_remember, "ENTRIES", 3)
    subject = HomeAssistantEncoder(HomeAssistantOptions(), "ns")
    names = [f"sensor.s{number}" for number in range(10)]

    lines = [
        subject.line(Message("t", {"entity_id": name, "state": "1", "attributes": {}}, 1)) for name in names
    ]

    assert lines == [f"{name},domain=sensor,entity_id={name[7:]} value=1 1" for name in names]
    assert list(subject._templates) == [(name, "value") for name in names[-3:]]


def test_very_long_attributes_are_not_remembered() -> None:
    subject = HomeAssistantEncoder(HomeAssistantOptions.model_validate({"ignore_attributes": ["a"]}), "ns")
    payload = {"entity_id": "sensor.t", "state": "1", "attributes": {"a": "x" * 10_000}}

    line = subject.line(Message("t", payload, 1))

    assert line == "sensor.t,domain=sensor,entity_id=t value=1 1"
    assert subject._templates == {}
