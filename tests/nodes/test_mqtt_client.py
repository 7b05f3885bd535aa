"""The contract with what is private in aiomqtt and paho: fails here, by name, before it fails in operation."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest

from flowrunner_nodes._mqtt_client import MqttClient
from flowrunner_nodes._mqtt_packets import Publish
from flowrunner_nodes._mqtt_settings import Settings

SETTINGS = Settings("h", 1883, "id", True, None, None, None, 60, 0, 2**20, 10)


class Nobody:
    def receive(self, publishes: list[Publish]) -> None: ...
    def pass_over(self, publishes: list[Publish]) -> None: ...
    def acknowledged(self, body: bytes) -> None: ...
    def drained(self) -> None: ...


@pytest.mark.parametrize(("name", "known"), [("aiomqtt", "2.5."), ("paho-mqtt", "2.2.")])
def test_the_versions_are_those_that_the_adapter_was_written_for(name: str, known: str) -> None:
    assert version(name).startswith(known), (
        f"read the changes of {name}, run all tests, then set the version here"
    )


@pytest.mark.parametrize(
    "name",
    ["_on_connect", "_on_disconnect", "_on_socket_open", "_on_socket_close", "_on_socket_register_write"],
)
def test_aiomqtt_calls_the_methods_that_the_adapter_overrides(name: str) -> None:
    theirs = inspect.signature(getattr(aiomqtt.Client, name))
    ours = inspect.signature(getattr(MqttClient, name))

    assert list(theirs.parameters) == list(ours.parameters)
    assert f"self._client.{name.removeprefix('_')} = self.{name}" in inspect.getsource(
        aiomqtt.Client.__init__
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_packet_queue", ["self", "command", "packet", "mid", "qos", "info"]),
        ("_packet_handle", ["self"]),
        ("_sock_close", ["self"]),
        ("_create_socket", ["self"]),
    ],
)
def test_paho_has_the_methods_that_the_adapter_calls(name: str, parameters: list[str]) -> None:
    assert parameters == list(inspect.signature(getattr(paho.Client, name)).parameters)


async def test_paho_has_the_fields_that_the_adapter_sets() -> None:
    client = MqttClient(SETTINGS, Nobody())._client
    fields: dict[str, Any] = vars(client)

    assert {"command", "packet", "remaining_length", "pos"} <= set(fields["_in_packet"])
    assert isinstance(fields["_last_bytes_received"], float)
    assert fields["_manual_ack"] is False
    client.manual_ack_set(on=True)
    assert client._manual_ack


async def test_paho_asks_for_its_socket_once_and_does_not_block() -> None:
    client = MqttClient(SETTINGS, Nobody())
    source = inspect.getsource(paho.Client.reconnect)

    assert source.count("self._create_socket()") == 1
    assert "self._sock.setblocking(False)" in source
    client.close()
    assert client.lost.done()


async def test_a_packet_after_the_end_is_not_sent() -> None:
    client = MqttClient(SETTINGS, Nobody())
    client.close()
    client.send(b"\x40\x02\x00\x01")

    assert not client._client.want_write()
