"""No connection reaches the addresses at which clouds hand out their secrets, whatever name leads there."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner_nodes._ha_link import Link
from flowrunner_nodes._ha_link import LinkError as HaLinkError
from flowrunner_nodes._ha_socket import open_socket as open_websocket
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._influx_answer import Target
from flowrunner_nodes._influx_http import HttpSession
from flowrunner_nodes._mqtt_settings import LinkError
from flowrunner_nodes._mqtt_sockets import open_socket
from flowrunner_nodes.home_assistant import HomeAssistantOptions
from flowrunner_nodes.influxdb import InfluxdbOptions
from flowrunner_nodes.mqtt import MqttOptions

FORBIDDEN = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
]
OPTIONS: list[tuple[Any, dict[str, Any]]] = [
    (InfluxdbOptions, {"url": "http://{}:8086", "org": "home", "token": "t"}),
    (HomeAssistantOptions, {"url": "http://{}:8123", "token": "t"}),
    (MqttOptions, {"url": "mqtt://{}"}),
]
IDS = ["influxdb", "home_assistant", "mqtt"]


@pytest.mark.parametrize("host", FORBIDDEN)
@pytest.mark.parametrize(("options", "given"), OPTIONS, ids=IDS)
def test_a_connection_names_no_such_address(options: Any, given: dict[str, Any], host: str) -> None:
    with pytest.raises(ValidationError, match="an address that flows must not reach"):
        options.model_validate(given | {"url": given["url"].format(host)})


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.10", "[::1]", "[fd12::1]", "influxdb"])
@pytest.mark.parametrize(("options", "given"), OPTIONS, ids=IDS)
def test_the_addresses_of_a_home_are_fine(options: Any, given: dict[str, Any], host: str) -> None:
    url = given["url"].format(host)

    assert url == options.model_validate(given | {"url": url}).url


@pytest.fixture
def rebound(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let every name lead to the metadata service, and note what is connected to."""
    connected: list[Any] = []

    async def getaddrinfo(_: Any, host: Any, port: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", int(port)))]

    async def sock_connect(_: Any, __: Any, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    loop = asyncio.SelectorEventLoop
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    return connected


async def test_a_name_does_not_lead_a_broker_there(rebound: list[Any]) -> None:
    with pytest.raises(LinkError, match=r"169\.254\.169\.254 is an address that flows must not reach"):
        await open_socket("broker.example", 1883, None)
    assert [] == rebound


async def test_a_name_does_not_lead_influxdb_there(rebound: list[Any]) -> None:
    options = InfluxdbOptions.model_validate(
        {"url": "http://influx.example:8086", "org": "home", "token": "a-token", "timeout": "2s"}
    )
    session = HttpSession(options, lambda: 0)
    try:
        with pytest.raises(Unreachable, match=r"169\.254\.169\.254 is an address that flows must not reach"):
            await session.post(Target("home", "ns"), b"m f=1")
    finally:
        await session.close()
    assert [] == rebound


async def test_a_name_does_not_lead_home_assistant_there(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def listening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read(1))
        writer.close()

    # Any address does: what is looked at is where the socket ended up.
    monkeypatch.setattr("flowrunner_nodes._http_addresses.is_forbidden", lambda _: True)
    async with await asyncio.start_server(listening, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HaLinkError, match=r"127\.0\.0\.1 is an address that flows must not reach"):
            await open_websocket(Link(f"ws://localhost:{port}/api/websocket", "t"), lambda _: None)
        assert b"" == await asyncio.wait_for(heard, 5)
