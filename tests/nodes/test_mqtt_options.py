"""What can be configured, and what is said about the rest."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner import ConnectionContext, Context, MessageError, NodeFailed, SystemClock
from flowrunner_nodes.mqtt import MqttConnection, MqttOptions
from flowrunner_nodes.mqtt_in import Config, MqttIn
from tests.nodes.mqtt_harness import Flow, Log

GOOD = {"url": "mqtt://broker"}


def codes(model: Any, values: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    with pytest.raises(ValidationError) as caught:
        model(**values)
    errors = caught.value.errors()
    return [(error["type"], error["msg"], error.get("ctx", {}).get("help")) for error in errors]


@pytest.mark.parametrize(
    "url", ["mqtt://h", "mqtt://h:1", "mqtts://h", "mqtt://[::1]:1883", "mqtt://10.0.0.1:1883/"]
)
def test_good_addresses(url: str) -> None:
    assert url == MqttOptions(url=url).url


@pytest.mark.parametrize(
    "url",
    [
        "broker:1883",
        "tcp://h",
        "http://h",
        "ws://h/mqtt",
        "mqtt://",
        "mqtt://h:0",
        "mqtt://h:x",
        "mqtt://h:70000",
        "mqtt://h/path",
        "mqtt://h?x=1",
        "",
        "mqtt://[::1",
    ],
)
def test_bad_addresses(url: str) -> None:
    [(code, message, help)] = codes(MqttOptions, {"url": url})

    assert "FR025" == code
    assert f"`{{name}}` is not the address of a broker: {url!r}" == message
    assert help is not None
    assert "mqtts://HOST:PORT" in help


@pytest.mark.parametrize("url", ["mqtt://me:canary@h", "mqtt://me@h", "mqtt://me:canary@h:bad"])
def test_a_password_in_the_address_is_refused_and_not_shown(url: str) -> None:
    [(code, message, help)] = codes(MqttOptions, {"url": url})

    assert ("FR025", "`{name}` holds a user name or password") == (code, message)
    assert help == "give the user in `username` and the password in `password`"


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        pytest.param({"keepalive": "0s"}, "FR023", "more than zero", id="keepalive of nothing"),
        pytest.param({"keepalive": "500ms"}, "FR023", "from 1s to 65535s", id="short keepalive"),
        pytest.param({"keepalive": "1d"}, "FR023", "from 1s to 65535s", id="long keepalive"),
        pytest.param({"session_expiry": "50000d"}, "FR023", "136 years", id="long session"),
        pytest.param({"max_packet": "1B"}, "FR023", "from 1KiB", id="small packets"),
        pytest.param({"max_packet": "1GiB"}, "FR023", "from 1KiB", id="large packets"),
        pytest.param({"receive_maximum": 0}, "greater_than_equal", "", id="nothing ahead"),
        pytest.param({"protocol": 4}, "literal_error", "", id="MQTT 4"),
        pytest.param({"tls": {"ca": "x"}}, "FR025", "mqtts://", id="tls without mqtts"),
        pytest.param({"password": "x"}, "FR025", "`password` needs `username`", id="password without user"),
        pytest.param(
            {"url": "mqtts://h", "tls": {"key": "x"}}, "FR025", "`key` needs `cert`", id="key without cert"
        ),
    ],
)
def test_bad_connection_options(values: dict[str, Any], code: str, words: str) -> None:
    [(found, message, _)] = codes(MqttOptions, {**GOOD, **values})

    assert code == found
    assert words in message


def test_qos_2_is_refused_with_the_reason() -> None:
    [(code, message, help)] = codes(Config, {"type": "mqtt_in", "connection": "b", "topics": ["a"], "qos": 2})

    assert "FR033" == code
    assert message.startswith(
        "`{name}: 2` is not supported: a message of QoS 2 must be accepted before it is safe"
    )
    assert help == "use `qos: 1`: nothing is lost, but a message may come twice"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        pytest.param({"topics": []}, "too_short", id="no topic"),
        pytest.param({"topics": ["a/#/b"]}, "FR034", id="a bad filter"),
        pytest.param({"topics": ["a"], "qos": 3}, "literal_error", id="QoS 3"),
        pytest.param({"topics": ["a"], "format": "xml"}, "literal_error", id="a format that is not there"),
    ],
)
def test_bad_node_options(values: dict[str, Any], code: str) -> None:
    assert [code] == [
        found for found, _, _ in codes(Config, {"type": "mqtt_in", "connection": "b", **values})
    ]


def test_a_bad_filter_is_marked_at_its_character() -> None:
    with pytest.raises(ValidationError) as caught:
        Config(type="mqtt_in", connection="b", topics=["good", "a/b#"])
    [error] = caught.value.errors()

    assert ("topics", 1) == error["loc"]
    assert (2, 2) == (error["ctx"]["offset"], error["ctx"]["length"])


def test_the_client_id_is_stable_and_names_instance_flow_and_connection() -> None:
    context = ConnectionContext("climate", "broker", SystemClock(), Log(), "house")
    connection = MqttConnection(MqttOptions(url="mqtts://h"), context)

    settings = connection._hub._settings
    assert "house-climate-broker" == settings.client_id
    assert ("h", 8883, 60, 86_400) == (
        settings.host,
        settings.port,
        settings.keepalive,
        settings.session_expiry,
    )
    assert settings.tls is not None


def test_a_node_needs_a_connection_of_its_type() -> None:
    context = Context("flow", "a", log=Log(), clock=SystemClock())
    config = Config(type="mqtt_in", connection="db", topics=["a"])

    with pytest.raises(NodeFailed, match="`db` is not a connection of type `mqtt`"):
        MqttIn(config, context)  # type: ignore[arg-type]  # what the engine's checks prevent


@pytest.mark.parametrize(
    ("format", "data", "payload"),
    [
        pytest.param("auto", b'{"a": [1, null]}', {"a": [1, None]}, id="auto: JSON"),
        pytest.param("auto", b"21.5", 21.5, id="auto: a number"),
        pytest.param("auto", b"true", True, id="auto: a truth value"),
        pytest.param("auto", b"ON", "ON", id="auto: a word"),
        pytest.param("auto", b"nan", "nan", id="auto: not a number of JSON"),
        pytest.param("auto", b"", "", id="auto: nothing"),
        pytest.param("auto", "grün".encode(), "grün", id="auto: UTF-8"),
        pytest.param("auto", b"\xff\x00", "/wA=", id="auto: bytes"),
        pytest.param("auto", b"[" * 5000, "[" * 5000, id="auto: too deep for JSON"),
        pytest.param("json", b' "x" ', "x", id="json"),
        pytest.param("text", b"21.5", "21.5", id="text"),
        pytest.param("bytes", b"21", base64.b64encode(b"21").decode(), id="bytes"),
    ],
)
async def test_payloads_are_read_as_the_format_says(format: str, data: bytes, payload: Any) -> None:
    node = Flow(GOOD, {"a": {"topics": ["a"], "format": format}}).nodes["a"]

    assert payload == node.decode(data)


@pytest.mark.parametrize(
    ("format", "data", "reason"),
    [
        pytest.param("json", b"ON", "the payload is not JSON: ", id="a word"),
        pytest.param("json", b"", "the payload is not JSON: ", id="nothing"),
        pytest.param("json", b"[" * 5000, "the payload is not JSON: ", id="too deep"),
        pytest.param("json", b'"\xff"', "the payload is not JSON: ", id="not UTF-8"),
        pytest.param(
            "text", b"a\xff", "the payload is not text in UTF-8: invalid start byte at byte 1", id="text"
        ),
    ],
)
async def test_payloads_of_another_format_fail(format: str, data: bytes, reason: str) -> None:
    node = Flow(GOOD, {"a": {"topics": ["a"], "format": format}}).nodes["a"]

    with pytest.raises(MessageError) as caught:
        node.decode(data)
    assert str(caught.value).startswith(reason)
