"""``ha_call`` against a real Home Assistant, and the example flow with all of its servers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flowrunner import RetryLater
from flowrunner_nodes.ha_call import HaCall
from tests.e2e.process import Flowrunner
from tests.nodes.ha_harness import running, until
from tests.nodes.harness import message, write_all
from tests.nodes.test_ha_call import sink_of
from tests.servers.home_assistant import HomeAssistant
from tests.servers.influxd import Influxd
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import publish

pytestmark = pytest.mark.server

FLOWS = Path(__file__).parents[2] / "flows"
SET = {
    "action": "input_number.set_value",
    "target": {"entity_id": "='input_number.' + topic"},
    "data": {"value": "=payload"},
}


def options(home: HomeAssistant, token: str | None = None) -> dict[str, Any]:
    return {"url": home.url, "token": token or home.token}


async def test_an_action_changes_the_state(home_assistant: HomeAssistant) -> None:
    nodes = {"states": {"entities": ["input_number.target"]}}
    async with running(None, nodes, **options(home_assistant)) as flow:
        call = sink_of(flow, **SET)
        assert [] == await write_all(call, [message(value, topic="target") for value in (11.5, 12.5, 13.5)])
        await until(lambda: flow["states"].states[-3:] == ["11.5", "12.5", "13.5"])


async def test_an_event_is_fired(home_assistant: HomeAssistant) -> None:
    nodes = {"events": {"event": "panel_pressed"}}
    async with running(None, nodes, **options(home_assistant)) as flow:
        call = sink_of(flow, fire_event="panel_pressed", data={"times": "=payload"})
        assert [] == await write_all(call, [message(2)])
        await until(lambda: flow["events"].saved)

    (payload,) = flow["events"].payloads
    assert ("panel_pressed", {"times": 2}) == (payload["event_type"], payload["data"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(
            {"action": "light.no_such_action"},
            "Home Assistant refuses light.no_such_action: Service light.no_such_action not found. (not_found)",
            id="no such action",
        ),
        pytest.param(
            SET | {"data": {"value": "warm"}},
            "Home Assistant refuses input_number.set_value: "
            "expected float for dictionary value @ data['value'] (invalid_format)",
            id="invalid data",
        ),
        pytest.param(
            SET | {"data": {"value": -1000}},
            "Home Assistant refuses input_number.set_value: Invalid value for input_number.target: -1000.0 "
            "(range -50.0 - 100000.0) (invalid_format)",
            id="out of range",
        ),
        pytest.param(
            SET | {"target": {"entity_id": "{{ here }}"}},
            "Home Assistant refuses input_number.set_value: Templates are not supported here (invalid_format)",
            id="a template",
        ),
    ],
)
async def test_a_mistake_fails_with_the_words_of_home_assistant(
    home_assistant: HomeAssistant, given: dict[str, Any], reason: str
) -> None:
    async with running(None, {}, **options(home_assistant)) as flow:
        assert [reason] == await write_all(sink_of(flow, **given), [message(1, topic="target")])


async def test_a_target_that_is_not_there_is_no_error_to_home_assistant(
    home_assistant: HomeAssistant,
) -> None:
    async with running(None, {}, **options(home_assistant)) as flow:
        assert [] == await write_all(sink_of(flow, **SET), [message(1, topic="no_such_thing")])


async def test_a_user_who_is_no_administrator_may_call_actions_and_fires_no_events(
    home_assistant: HomeAssistant,
) -> None:
    token = await home_assistant.add_user("panel")
    async with running(None, {}, **options(home_assistant, token)) as flow:
        assert [] == await write_all(sink_of(flow, **SET), [message(17.5, topic="target")])
        assert "Unauthorized (unauthorized)" in await put_off(sink_of(flow, fire_event="panel_pressed"))
        assert "input_number.reload: Unauthorized (" in await put_off(
            sink_of(flow, action="input_number.reload")
        )


async def put_off(call: HaCall) -> str:
    with pytest.raises(RetryLater) as caught:
        await call.write([message()])
    assert caught.value.operator
    return caught.value.reason


@pytest.mark.timeout(120)
async def test_the_example_flow_brings_states_to_influxdb_and_wishes_to_home_assistant(
    home_assistant: HomeAssistant, tmp_path: Path
) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "influx").mkdir()
    async with (
        Mosquitto(tmp_path / "broker") as broker,
        Influxd(tmp_path / "influx") as influx,
        Flowrunner(tmp_path) as flowrunner,
    ):
        await influx.create("home")
        flowrunner._environment |= {
            "HA_URL": home_assistant.url,
            "HA_TOKEN": home_assistant.token,
            "MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
            "INFLUX_URL": influx.url,
            "INFLUX_TOKEN": influx.token,
        }
        flowrunner.write("connections.yaml", (FLOWS / "connections.yaml").read_text())
        flowrunner.write("home.yaml", hurried((FLOWS / "home.yaml").read_text()))
        await flowrunner.start()
        await home_assistant.set("sensor.hall_temperature", "20.0", unit_of_measurement="°C")
        await home_assistant.set("sensor.hall_temperature", "850", unit_of_measurement="°C")
        await publish(broker.port, [("panel/target/target", json.dumps(23.5).encode())])
        points = await wait_for_points(influx)
        await flowrunner.until(lambda: flowrunner.ledger("home").get("written", 0) >= 2)
        states = {each["entity_id"]: each["state"] for each in await home_assistant.command("get_states")}
        books = flowrunner.ledger("home")
        assert 0 == await flowrunner.stop()

    assert {"entity": "sensor.hall_temperature", "unit": "°C"}.items() <= points[0].items()
    assert ("20", "20", "1") == tuple(points[0][name] for name in ("mean", "max", "samples"))
    assert "23.5" == states["input_number.target"]
    assert 0 == books["unaccounted"]


def hurried(flow: str) -> str:
    """Return the flow with times of a second and less, so that nobody has to wait for a minute."""
    times = {"every: 10s": "every: 100ms", "size: 1m": "size: 1s", "lateness: 10s": "lateness: 1s"}
    for slow, quick in times.items():
        assert slow in flow
        flow = flow.replace(slow, quick)
    return flow


async def wait_for_points(influx: Influxd) -> list[dict[str, str]]:
    async with asyncio.timeout(30):
        while not (points := await influx.read("home", "temperature")):
            await asyncio.sleep(0.1)
    return points
