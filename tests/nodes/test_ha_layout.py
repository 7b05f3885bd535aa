"""`layout: home_assistant`: the lines of a real Home Assistant, and each of its rules."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flowrunner import Message, MessageError
from flowrunner_nodes._ha_layout import HomeAssistantEncoder
from flowrunner_nodes._ha_layout_fields import LeftOut
from flowrunner_nodes._ha_layout_options import HomeAssistantOptions
from tests.nodes.ha_oracle import captured_lines, captured_messages

TIME = 1_795_424_463_814_347_000

BEFORE_THE_CAPTURE = ("sensor.backup_backup_manager_state",)
"""Written before the events were recorded."""

AS_2026_11 = {
    'note_str="x\ny",state="line1\nline2"': 'note_str="x y",state="line1 line2"',
    'tags_str="x",time=5,value=9': 'tags_str="x",time_=5,value=9',
}
"""What 2025.4.4 wrote, and what it has become by 2026.11."""

POSTED_AS_JSON = {
    'rgb_color_str="[255, 0, 10]"': 'rgb_color_str="(255, 0, 10)"',
    "supported_color_modes_str=\"['rgb']\"": "supported_color_modes_str=\"[<ColorMode.RGB: 'rgb'>]\"",
    "hvac_modes_str=\"['off', 'heat']\"": (
        "hvac_modes_str=\"[<HVACMode.OFF: 'off'>, <HVACMode.HEAT: 'heat'>]\""
    ),
    'last_triggered_str="2026-11-23T09': 'last_triggered_str="2026-11-23 09',
}
"""The capture's states came from a REST client, as lists and texts; the real entities have tuples, enumerations, datetimes."""


def encode(state: Any, *, precision: str = "ns", entity: str = "sensor.t", **options: Any) -> str:
    attributes = options.pop("attributes", {})
    payload = {"entity_id": entity, "state": state, "attributes": attributes}
    subject = HomeAssistantEncoder(HomeAssistantOptions.model_validate(options), precision)
    first, second = (subject.line(Message(entity, payload, TIME)) for _ in range(2))
    assert first == second
    return first


def fields(attributes: dict[str, Any], *, entity: str = "sensor.t", **options: Any) -> str:
    """Return the fields of a state `5` with these attributes, without its own."""
    line = encode("5", entity=entity, attributes=attributes, override_measurement="m", **options)
    head, tail = re.escape(f"m,domain={entity.replace('.', ',entity_id=')} "), f" {TIME}"
    return re.sub(f"^{head}|{tail}$", "", line)


def test_the_lines_of_a_real_home_assistant() -> None:
    subject = HomeAssistantEncoder(HomeAssistantOptions(), "ns")
    written, left_out = list[str](), list[str]()
    for message in captured_messages():
        try:
            written.append(subject.line(message))
        except LeftOut as reason:
            left_out.append(reason.reason)
    expected = captured_lines()
    assert len(expected) == 69

    first = min(message.time for message in captured_messages())
    expected = [line for line in expected if int(line.rpartition(" ")[2]) >= first]
    for was, now in {**AS_2026_11, **POSTED_AS_JSON}.items():
        assert 1 == sum(was in line for line in expected)
        expected = [line.replace(was, now) for line in expected]

    assert 66 == len(expected)
    last = max(int(line.rpartition(" ")[2]) for line in expected)
    until = [line for line in written if int(line.rpartition(" ")[2]) <= last]
    assert sorted(expected) == sorted(until)
    assert {"no_state": 3, "no_field": 2} == {reason: left_out.count(reason) for reason in left_out}


@pytest.mark.parametrize(
    ("state", "written"),
    [
        pytest.param("21.5", "value=21.5", id="a number"),
        pytest.param("100", "value=100", id="a whole number"),
        pytest.param("-0", "value=-0", id="negative zero"),
        pytest.param("1_000", "value=1000", id="an underscore, as in Python"),
        pytest.param(" 12 ", "value=12", id="spaces around it"),
        pytest.param("1e5", "value=100000", id="an exponent"),
        pytest.param("1e21", "value=1e+21", id="a large number"),
        pytest.param("٣", "value=3", id="digits of another script"),
        pytest.param("0x1F", 'state="0x1F"', id="hexadecimal is text"),
        pytest.param("1,5", 'state="1,5"', id="a comma is text"),
        pytest.param("idle", 'state="idle"', id="a word"),
        pytest.param("on", 'state="on",value=1', id="on"),
        pytest.param("locked", 'state="locked",value=1', id="locked"),
        pytest.param("above_horizon", 'state="above_horizon",value=1', id="above the horizon"),
        pytest.param("open", 'state="open",value=1', id="open"),
        pytest.param("home", 'state="home",value=1', id="home"),
        pytest.param("off", 'state="off",value=0', id="off"),
        pytest.param("unlocked", 'state="unlocked",value=0', id="unlocked"),
        pytest.param("below_horizon", 'state="below_horizon",value=0', id="below the horizon"),
        pytest.param("closed", 'state="closed",value=0', id="closed"),
        pytest.param("not_home", 'state="not_home",value=0', id="not home"),
        pytest.param("ON", 'state="ON"', id="words are lower-case"),
        pytest.param('a "b" \\', 'state="a \\"b\\" \\\\"', id="quotes and backslashes"),
        pytest.param("a\r\nb\x0bc\u2028d\n", 'state="a b c d"', id="line breaks of every kind"),
    ],
)
def test_fields_of_a_state(state: str, written: str) -> None:
    assert f"sensor.t,domain=sensor,entity_id=t {written} {TIME}" == encode(state)


@pytest.mark.parametrize(
    ("attributes", "written"),
    [
        pytest.param({"a": 1, "b": 2.5, "c": True}, "a=1,b=2.5,c=1,value=5", id="numbers and bools"),
        pytest.param({"b": 1, "a": 2, "B": 3}, "B=3,a=2,b=1,value=5", id="sorted by name"),
        pytest.param({"a": "12", "b": "1_0"}, "a=12,b=10,value=5", id="numbers in texts"),
        pytest.param({"a": "x"}, 'a_str="x",value=5', id="a text"),
        pytest.param({"a": None}, 'a_str="None",value=5', id="null"),
        pytest.param(
            {"a": ["x", 1, True, None]},
            "a_str=\"['x', 1, True, None]\",value=5",
            id="a list as Python shows it",
        ),
        pytest.param({"a": {"x": [1]}}, "a_str=\"{'x': [1]}\",value=5", id="a mapping as Python shows it"),
        pytest.param({"a": "12 V"}, 'a=12,a_str="12 V",value=5', id="a text with a number"),
        pytest.param({"a": "5 V"}, 'a_str="5 V",value=5', id="one digit is not enough"),
        pytest.param({"a": "-12 dB"}, 'a=12,a_str="-12 dB",value=5', id="the sign is lost"),
        pytest.param({"a": "1.5 V"}, 'a=1.5,a_str="1.5 V",value=5', id="a decimal number"),
        pytest.param({"a": "v1.2.3"}, 'a_str="v1.2.3",value=5', id="two dots are too many"),
        pytest.param({"a": ".12"}, "a=0.12,value=5", id="a number that begins with a dot"),
        pytest.param({"a": "V .12"}, 'a_str="V .12",value=5', id="a dot needs a digit before it"),
        pytest.param({"a": "1-2 34"}, 'a=1234,a_str="1-2 34",value=5', id="all digits are glued"),
        pytest.param({"a": "x\ny 12"}, 'a=12,a_str="x y 12",value=5', id="line breaks"),
        pytest.param(
            {"a": "nan", "b": "-Infinity", "c": "9" * 400 + " V"},
            f'c_str="{"9" * 400} V",value=5',
            id="not finite",
        ),
        pytest.param({"value": 7}, "value=5,value_=7", id="a name that is taken"),
        pytest.param({"value_": 1, "value": "nan"}, "value=5", id="not finite under a name that is taken"),
        pytest.param({"value": "x"}, 'value=5,value__str="x"', id="a text under a name that is taken"),
        pytest.param({"state": "x"}, 'state_str="x",value=5', id="state is free beside a number"),
        pytest.param({"x_str": 1, "x": "y"}, 'value=5,x_str="y"', id="the later one of two with one name"),
        pytest.param({"time": 1}, "time_=1,value=5", id="time is reserved"),
        pytest.param({"time": 1, "time_": 2}, "time_=2,time__=1,value=5", id="time_ is taken"),
        pytest.param({"time": "noon"}, 'time_str="noon",value=5', id="time_str is not reserved"),
        pytest.param({"a b,c=d\ne": 1}, "a\\ b\\,c\\=d\\ne=1,value=5", id="a name with all that is escaped"),
    ],
)
def test_fields_of_attributes(attributes: dict[str, Any], written: str) -> None:
    assert written == fields(attributes)


@pytest.mark.parametrize(
    ("entity", "attributes", "written"),
    [
        pytest.param(
            "light.l",
            {"rgb_color": [255, 10, 0], "hs_color": None},
            'hs_color_str="None",rgb_color=255100,rgb_color_str="(255, 10, 0)",value=5',
            id="the colors of a light",
        ),
        pytest.param(
            "group.g",
            {"entity_id": ["light.a"]},
            "entity_id_str=\"('light.a',)\",value=5",
            id="the members of a group",
        ),
        pytest.param(
            "climate.c",
            {"hvac_modes": ["heat_cool", "turbo", 5]},
            "hvac_modes_str=\"[<HVACMode.HEAT_COOL: 'heat_cool'>, 'turbo', 5]\",value=5",
            id="the modes of a climate",
        ),
        pytest.param(
            "light.l",
            {"supported_color_modes": None},
            'supported_color_modes_str="None",value=5',
            id="no modes",
        ),
        pytest.param(
            "script.s",
            {"last_triggered": "2026-11-23T09:00:00+00:00"},
            'last_triggered=2.026112309e+17,last_triggered_str="2026-11-23 09:00:00+00:00",value=5',
            id="a datetime",
        ),
        pytest.param(
            "automation.a",
            {"last_triggered": None},
            'last_triggered_str="None",value=5',
            id="no datetime yet",
        ),
        pytest.param(
            "sensor.s",
            {"rgb_color": [12, 3]},
            'rgb_color=123,rgb_color_str="[12, 3]",value=5',
            id="only there",
        ),
    ],
)
def test_what_json_does_not_carry_is_known_for_some_attributes(
    entity: str, attributes: dict[str, Any], written: str
) -> None:
    assert written == fields(attributes, entity=entity)


FULL = {"unit_of_measurement": "°C", "device_class": "temperature", "friendly_name": "T"}


@pytest.mark.parametrize(
    ("options", "attributes", "written"),
    [
        pytest.param(
            {}, FULL, '°C,domain=sensor,entity_id=t device_class_str="temperature",friendly_name_str="T",value=5', id="unit"
        ),
        pytest.param({}, {"unit_of_measurement": ""}, 'sensor.t,domain=sensor,entity_id=t unit_of_measurement_str="",value=5', id="empty unit"),
        pytest.param({}, {"unit_of_measurement": 5}, "5,domain=sensor,entity_id=t value=5", id="a unit that is a number"),
        pytest.param({}, {"unit_of_measurement": "a b,c=d\n"}, "a\\ b\\,c=d,domain=sensor,entity_id=t value=5", id="escaped unit"),
        pytest.param(
            {"default_measurement": "state"}, {}, "state,domain=sensor,entity_id=t value=5", id="default without a unit"
        ),
        pytest.param(
            {"default_measurement": "state"}, {"unit_of_measurement": "W"}, "W,domain=sensor,entity_id=t value=5", id="unit before default"
        ),
        pytest.param({"default_measurement": ""}, {}, "sensor.t,domain=sensor,entity_id=t value=5", id="empty default"),
        pytest.param(
            {"measurement_attr": "entity_id"},
            {"unit_of_measurement": "W"},
            'sensor.t,domain=sensor,entity_id=t unit_of_measurement_str="W",value=5',
            id="entity id",
        ),
        pytest.param(
            {"measurement_attr": "domain__device_class"},
            FULL,
            'sensor__temperature,domain=sensor,entity_id=t friendly_name_str="T",unit_of_measurement_str="°C",value=5',
            id="device class",
        ),
        pytest.param(
            {"measurement_attr": "domain__device_class"},
            {"unit_of_measurement": "W"},
            'sensor,domain=sensor,entity_id=t unit_of_measurement_str="W",value=5',
            id="no device class",
        ),
        pytest.param(
            {"override_measurement": "all"},
            FULL,
            'all,domain=sensor,entity_id=t device_class_str="temperature",friendly_name_str="T",unit_of_measurement_str="°C",value=5',
            id="override",
        ),
        pytest.param(
            {"override_measurement": ""}, {"unit_of_measurement": "W"}, "W,domain=sensor,entity_id=t value=5", id="empty override"
        ),
        pytest.param(
            {"tags": {"instance": "a b,c=d\ne", "empty": ""}},
            {},
            "sensor.t,domain=sensor,entity_id=t,instance=a\\ b\\,c\\=d\\ e value=5",
            id="tags",
        ),
        pytest.param({"tags": {"domain": "x", "entity_id": ""}}, {}, "sensor.t,domain=x value=5", id="tags win"),
        pytest.param({"tags": {"a": "x\\"}}, {}, "sensor.t,a=x\\ ,domain=sensor,entity_id=t value=5", id="backslash at the end of a tag"),
        pytest.param(
            {"tags_attributes": ["friendly_name", "n", "b", "l", "f", "none", "missing"]},
            {"friendly_name": "T\n1", "n": 12, "b": True, "l": [1, "x"], "f": 12.0, "none": None},
            "sensor.t,b=True,domain=sensor,entity_id=t,f=12.0,friendly_name=T\\ 1,l=[1\\,\\ 'x'],n=12 value=5",
            id="attributes as tags",
        ),
        pytest.param({"tags_attributes": ["domain"]}, {"domain": "x"}, "sensor.t,domain=x,entity_id=t value=5", id="an attribute called domain"),
        pytest.param(
            {"ignore_attributes": ["icon"]}, {"icon": "i", "a": 1}, "sensor.t,domain=sensor,entity_id=t a=1,value=5", id="ignored"
        ),
        pytest.param(
            {"ignore_attributes": ["unit_of_measurement"]},
            {"unit_of_measurement": "W"},
            "W,domain=sensor,entity_id=t value=5",
            id="an ignored unit still names the measurement",
        ),
        pytest.param(
            {"ignore_attributes": ["a"], "tags_attributes": ["a"]}, {"a": 1}, "sensor.t,a=1,domain=sensor,entity_id=t value=5", id="ignored, but a tag"
        ),
        pytest.param(
            {"component_config": {"Sensor.T": {"override_measurement": "exact"}}, "override_measurement": "all"},
            {},
            "exact,domain=sensor,entity_id=t value=5",
            id="component",
        ),
        pytest.param(
            {
                "component_config_domain": {"sensor": {"override_measurement": "domain", "ignore_attributes": ["a"]}},
                "component_config_glob": {"sensor.*": {"override_measurement": "one"}, "*.t": {"override_measurement": "two"}},
            },
            {"a": 1, "b": 2},
            "two,domain=sensor,entity_id=t b=2,value=5",
            id="later glob before earlier glob before domain",
        ),
        pytest.param(
            {
                "component_config_domain": {"sensor": {"ignore_attributes": ["a"]}},
                "component_config": {"sensor.t": {"ignore_attributes": ["b"]}},
                "ignore_attributes": ["c"],
            },
            {"a": 1, "b": 2, "c": 3},
            "sensor.t,domain=sensor,entity_id=t a=1,value=5",
            id="the stronger list in place of the weaker, the global one in addition",
        ),
        pytest.param(
            {
                "component_config": {"sensor.t": {"override_measurement": ""}},
                "component_config_domain": {"sensor": {"override_measurement": "d"}},
                "override_measurement": "all",
            },
            {},
            "all,domain=sensor,entity_id=t value=5",
            id="an empty override takes the weaker one away",
        ),
    ],
)  # fmt: skip
def test_options(options: dict[str, Any], attributes: dict[str, Any], written: str) -> None:
    assert f"{written} {TIME}" == encode("5", attributes=attributes, **options)


@pytest.mark.parametrize(
    ("precision", "time", "written"),
    [
        ("ns", 1_795_424_463_814_347_000, "1795424463814347000"),
        ("us", 1_795_424_463_814_347_000, "1795424463814347"),
        ("us", 1_795_424_690_640_129_000, str(int(1_795_424_690_640_129_000 / 1e3))),
        ("ms", 1_795_424_463_814_347_000, "1795424463814"),
        ("s", 1_795_424_463_814_347_000, "1795424463"),
    ],
)
def test_precision(precision: str, time: int, written: str) -> None:
    subject = HomeAssistantEncoder(HomeAssistantOptions(), precision)
    payload = {"entity_id": "sensor.t", "state": "5", "attributes": {}}

    line = subject.line(Message("t", payload, time))

    assert f"sensor.t,domain=sensor,entity_id=t value=5 {written}" == line


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"entity_id": "sensor.t", "state": None, "attributes": {}}, "no_state"),
        ({"entity_id": "sensor.t", "state": "", "attributes": {}}, "no_state"),
        ({"entity_id": "sensor.t", "state": "unknown", "attributes": {"a": 1}}, "no_state"),
        ({"entity_id": "sensor.t", "state": "unavailable", "attributes": {}}, "no_state"),
        ({"entity_id": "light.t", "state": "on", "attributes": {}}, "excluded"),
        ({"entity_id": "sensor.t", "state": "nan", "attributes": {"a": "inf"}}, "no_field"),
    ],
)
def test_states_without_a_point(payload: Any, reason: str) -> None:
    options = HomeAssistantOptions.model_validate({"exclude": {"domains": ["light"]}})
    subject = HomeAssistantEncoder(options, "ns")

    with pytest.raises(LeftOut, match=f"^{reason}$"):
        subject.line(Message("t", payload, TIME))


def test_a_state_that_is_not_finite_leaves_its_name_taken() -> None:
    assert f"sensor.t,domain=sensor,entity_id=t value_=1 {TIME}" == encode("nan", attributes={"value": 1})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (21.5, "the payload must be a state of Home Assistant, as `ha_in` sends it, got float"),
        ({"state": "on"}, "the payload has no `entity_id` such as `sensor.kitchen`"),
        ({"entity_id": "kitchen", "state": "on"}, "the payload has no `entity_id` such as"),
        ({"entity_id": "sensor.t", "state": 5, "attributes": {}}, "the `state` of sensor.t must be a string"),
        ({"entity_id": "sensor.t", "state": [], "attributes": {}}, "got a list"),
        ({"entity_id": "sensor.t", "state": "5"}, "the `attributes` of sensor.t must be a mapping, got null"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"": 1}}, "the measurement or name '' is empty"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"a\\": 1}}, "ends with a backslash"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"a": 10**400}}, "the attribute `a` is too large"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"a": "\ud800"}}, "is not valid Unicode"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"unit_of_measurement": "#"}}, "makes the line a comment"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"unit_of_measurement": "\n"}}, "is empty"),
        ({"entity_id": "sensor.t", "state": "5", "attributes": {"unit_of_measurement": "W\\"}}, "ends with a backslash"),
    ],
)  # fmt: skip
def test_messages_that_fail(payload: Any, reason: str) -> None:
    subject = HomeAssistantEncoder(HomeAssistantOptions(), "ns")

    with pytest.raises(MessageError, match=re.escape(reason)):
        subject.line(Message("t", payload, TIME))


def test_a_time_that_influxdb_cannot_store_fails() -> None:
    payload = {"entity_id": "sensor.t", "state": "5", "attributes": {}}

    with pytest.raises(MessageError, match="outside what InfluxDB can store"):
        HomeAssistantEncoder(HomeAssistantOptions(), "ns").line(Message("t", payload, 2**63))
