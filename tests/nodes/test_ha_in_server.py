"""``ha_in`` against a real Home Assistant: live, after outages, after restarts of either side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner_nodes import _ha_gap, _ha_hub
from tests.nodes.ha_harness import Flow, running, until
from tests.servers.cut_proxy import CutProxy
from tests.servers.home_assistant import HomeAssistant

pytestmark = pytest.mark.server

OUTAGE = 500
COUNTERS = [f"sensor.counter_{number}" for number in range(5)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ha_hub, "LONGEST_PAUSE", 0.3)
    monkeypatch.setattr(_ha_gap, "PATIENCE", 7)  # the recorder commits every 5 s


def options(home: HomeAssistant, port: int | None = None, path: str = "") -> dict[str, Any]:
    return {"url": f"http://127.0.0.1:{port or home.port}{path}", "token": home.token}


async def count(home: HomeAssistant, start: int, stop: int) -> None:
    """Write numbers, one after the other, over several entities; the attributes change too."""
    for number in range(start, stop):
        await home.set(COUNTERS[number % len(COUNTERS)], str(number // 10 * 10), step=number)


def steps(flow: Flow, name: str = "a") -> list[int]:
    return [payload["attributes"]["step"] for payload in flow[name].payloads]


def in_order(flow: Flow) -> bool:
    """Whether each entity's messages are in time order, each time once."""
    times: dict[str, list[Any]] = {}
    for record in flow["a"].saved:
        times.setdefault(record.topic, []).append(record.time)
    return all(times[topic] == sorted(set(times[topic])) for topic in times)


async def test_a_change_arrives_as_home_assistant_tells_it(home_assistant: HomeAssistant) -> None:
    nodes = {"a": {"entities": ["input_number.target"]}, "b": {"domains": ["input_boolean"]}}
    async with running(None, nodes, **options(home_assistant)) as flow:
        await until(lambda: flow["a"].saved and flow["b"].saved)
        await home_assistant.act("input_number.set_value", entity_id="input_number.target", value=21.5)
        await until(lambda: len(flow["a"].saved) == 2)
        await home_assistant.act("input_number.set_value", entity_id="input_number.power", value=100)
        await home_assistant.act("input_boolean.toggle", entity_id="input_boolean.lamp")
        await until(lambda: len(flow["b"].saved) == 2)

    payload, record = flow["a"].payloads[1], flow["a"].saved[1]
    assert ("input_number.target", "21.5") == (record.topic, payload["state"])
    assert flow["a"].payloads[0]["state"] == payload["old_state"]
    assert ("°C", "Target", "live") == tuple(record.meta[name] for name in ("unit", "name", "origin"))
    assert {"off", "on"} == set(flow["b"].states)
    assert 2 == len(flow["a"].saved)


async def test_500_changes_during_an_outage_arrive_once_and_in_order(home_assistant: HomeAssistant) -> None:
    nodes = {"a": {"entities": ["sensor.counter_*"]}, "b": {"entities": ["input_number.unrecorded"]}}
    await count(home_assistant, 0, 10)
    async with (
        CutProxy(home_assistant.port) as network,
        running(None, nodes, **options(home_assistant, network.port)) as flow,
    ):
        await until(lambda: len(flow["a"].saved) == len(COUNTERS))
        await network.cut()
        await count(home_assistant, 10, 10 + OUTAGE)
        await home_assistant.act("input_number.set_value", entity_id="input_number.unrecorded", value=7)
        await network.mend()
        await until(lambda: flow.up())
        await count(home_assistant, 10 + OUTAGE, 20 + OUTAGE)
        await until(lambda: len(flow["a"].saved) == len(COUNTERS) + OUTAGE + 10, 20)
        await until(lambda: len(flow["b"].saved) == 2, 20)

    assert list(range(5, 20 + OUTAGE)) == sorted(steps(flow))
    assert in_order(flow)
    assert {"resync", "history", "live"} == set(flow["a"].origins)
    assert {} == flow["a"].gaps
    assert ["input_number.unrecorded"] == list(flow["b"].gaps)
    assert 0 < flow["b"].gaps["input_number.unrecorded"] < 20
    assert "input_number.unrecorded" in flow.logged()


async def test_changes_while_flowrunner_is_down_arrive_after_its_restart(
    home_assistant: HomeAssistant,
) -> None:
    nodes = {"a": {"entities": ["sensor.counter_*"]}}
    await count(home_assistant, 1000, 1010)
    async with running(None, nodes, **options(home_assistant)) as before:
        await until(lambda: len(before["a"].saved) == len(COUNTERS))
    await count(home_assistant, 1010, 1110)
    async with running(None, nodes, cursors=before.cursors(), **options(home_assistant)) as after:
        await until(lambda: len(after["a"].saved) == 100, 20)
        await asyncio.sleep(0.1)

    assert list(range(1010, 1110)) == sorted(steps(after))
    assert in_order(after)


async def test_registries_are_on_meta_and_kept_current(home_assistant: HomeAssistant) -> None:
    home = home_assistant
    floor = await home.command("config/floor_registry/create", name="Ground")
    area = await home.command("config/area_registry/create", name="Cellar", floor_id=floor["floor_id"])
    label = await home.command("config/label_registry/create", name="Heating")
    power = "input_number.power"
    async with running(None, {"a": {"areas": ["Cellar"]}}, **options(home)) as flow:
        await home.command(
            "config/entity_registry/update",
            entity_id=power,
            area_id=area["area_id"],
            labels=[label["label_id"]],
        )
        await until(lambda: flow.connection.registry.version == 2)
        await home.act("input_number.set_value", entity_id=power, value=1)
        await until(lambda: len(flow["a"].saved) == 1)
        await home.command("config/area_registry/update", area_id=area["area_id"], name="Larder")
        await until(lambda: flow.connection.registry.version == 3)

    meta = flow["a"].saved[0].meta
    assert {"area": "Cellar", "floor": "Ground", "labels": ["Heating"]} == {
        name: meta[name] for name in ("area", "floor", "labels")
    }
    assert "Larder" == flow.connection.registry.place(power).area


async def test_events_and_triggers_come_as_home_assistant_has_them(home_assistant: HomeAssistant) -> None:
    trigger = {"trigger": "state", "entity_id": "input_boolean.lamp"}
    nodes: dict[str, dict[str, Any]] = {"a": {"event": "call_service"}, "b": {"trigger": trigger}}
    async with running(None, nodes, **options(home_assistant)) as flow:
        await home_assistant.act("input_boolean.toggle", entity_id="input_boolean.lamp")
        await until(lambda: flow["a"].saved and flow["b"].saved)

    assert ("call_service", "toggle") == (flow["a"].saved[0].topic, flow["a"].payloads[0]["data"]["service"])
    assert ("b", "input_boolean.lamp") == (
        flow["b"].saved[0].topic,
        flow["b"].payloads[0]["trigger"]["to_state"]["entity_id"],
    )


async def test_states_need_no_administrator_and_triggers_do(home_assistant: HomeAssistant) -> None:
    settings = {**options(home_assistant), "token": await home_assistant.add_user("reader")}
    await home_assistant.set("sensor.a", "1")
    nodes: dict[str, dict[str, Any]] = {"a": {"entities": ["sensor.a"]}, "b": {"event": "component_loaded"}}
    async with running(None, nodes, **settings) as before:
        await until(lambda: before["a"].saved)
    for number in range(2, 10):
        await home_assistant.set("sensor.a", str(number))
    async with running(None, nodes, cursors=before.cursors(), **settings) as after:
        await until(lambda: len(after["a"].saved) == 8)
        assert after.connection.registry.version
    async with running(None, {"a": {"event": "call_service"}}, up=False, **settings) as refused:
        await until(lambda: refused["a"].status == "failed")

    assert ["1"] == before["a"].states
    assert [str(number) for number in range(2, 10)] == after["a"].states
    assert "unauthorized" in refused.logged()


async def test_a_refused_token_is_not_tried_again(home_assistant: HomeAssistant) -> None:
    async with CutProxy(home_assistant.port) as network:
        settings = {**options(home_assistant, network.port), "token": "not-the-token"}
        async with running(None, {"a": {}}, up=False, **settings) as flow:
            await until(lambda: flow.context.status == "failed")
            await asyncio.sleep(0.5)

            assert "refuses the token" in (flow.context.reason or "")
        assert 1 == network.connections
        assert "not-the-token" not in flow.logged()


async def test_a_restart_of_home_assistant_emits_nothing_twice(tmp_path: Path) -> None:
    home = HomeAssistant(tmp_path)
    number = "input_number.target"
    try:
        await home.start()
        await home.act("input_number.set_value", entity_id=number, value=21.5)
        async with running(None, {"a": {"entities": [number, "input_boolean.*"]}}, **options(home)) as flow:
            await until(lambda: len(flow["a"].saved) == 2)
            home.stop()
            await until(lambda: not flow.up())
            await home.start()
            await until(flow.up, 20)
            await home.act("input_number.set_value", entity_id=number, value=22)
            await until(lambda: len(flow["a"].saved) == 3, 20)
    finally:
        home.stop()

    assert ["21.5", "22.0"] == flow["a"].of(number)
