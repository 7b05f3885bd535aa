"""``ha_in`` against a scripted Home Assistant: what is delivered, what is filled, what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner_nodes import (
    _ha_feed,
    _ha_following,
    _ha_gap,
    _ha_hub,
    _ha_outbox,
    _ha_registry,
    _ha_seen,
    _ha_session,
    ha_in,
)
from tests.nodes.ha_harness import running, until
from tests.servers.fake_home_assistant import START, FakeHomeAssistant


@pytest.fixture
async def home() -> AsyncIterator[FakeHomeAssistant]:
    async with FakeHomeAssistant() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ha_hub, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(_ha_hub, "_STATE_PERIOD", 0.02)
    monkeypatch.setattr(_ha_gap, "PATIENCE", 0.4)
    monkeypatch.setattr(_ha_gap, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(_ha_registry, "QUIET", 0.01)
    monkeypatch.setattr(_ha_outbox, "FULL_PAUSE", 0.02)
    monkeypatch.setattr(_ha_outbox, "DISK_PAUSE", 0.02)


ATTRIBUTES = {"unit_of_measurement": "°C", "device_class": "temperature", "friendly_name": "Kitchen"}


async def test_a_change_arrives_with_payload_time_and_meta(home: FakeHomeAssistant) -> None:
    home.set("sensor.kitchen", "20.5", ATTRIBUTES, at=START)
    async with running(home, {"a": {}}) as flow:
        home.set("sensor.kitchen", "21.0", at=START + 60.123456)
        await until(lambda: len(flow["a"].saved) == 2)

    record = flow["a"].saved[1]
    assert ("sensor.kitchen", 1_772_359_260_123_456_000) == (record.topic, record.time)
    assert {
        "entity_id": "sensor.kitchen",
        "state": "21.0",
        "attributes": ATTRIBUTES,
        "last_changed": "2026-03-01T10:01:00.123456+00:00",
        "last_updated": "2026-03-01T10:01:00.123456+00:00",
        "old_state": "20.5",
    } == flow["a"].payloads[1]
    assert {
        "entity_id": "sensor.kitchen",
        "domain": "sensor",
        "object_id": "kitchen",
        "device_class": "temperature",
        "unit": "°C",
        "name": "Kitchen",
        "origin": "live",
    } == record.meta
    assert ["resync", "live"] == flow["a"].origins


def numbers(home: FakeHomeAssistant, start: int, stop: int, entity: str = "sensor.a") -> None:
    for number in range(start, stop):
        home.set(entity, str(number))


def texts(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        pytest.param({}, {"sensor.a_temp", "sensor.b_power", "light.c"}, id="all"),
        pytest.param({"entities": ["sensor.*"]}, {"sensor.a_temp", "sensor.b_power"}, id="a pattern"),
        pytest.param({"entities": ["light.c", "*_temp"]}, {"light.c", "sensor.a_temp"}, id="one of several"),
        pytest.param({"exclude": ["sensor.*"]}, {"light.c"}, id="all but"),
        pytest.param({"domains": ["sensor"], "exclude": ["*_temp"]}, {"sensor.b_power"}, id="all must hold"),
        pytest.param({"domains": ["light"], "entities": ["*"]}, {"light.c"}, id="domain and pattern"),
        pytest.param({"device_classes": ["power"]}, {"sensor.b_power"}, id="device class"),
        pytest.param({"areas": ["Kitchen"]}, {"light.c"}, id="area by name"),
        pytest.param({"areas": ["attic_id"]}, {"sensor.b_power"}, id="area of the device, by id"),
        pytest.param({"labels": ["Recorded"]}, {"sensor.b_power", "light.c"}, id="label"),
    ],
)
@pytest.mark.parametrize(
    "old",
    [
        pytest.param({}, id="subscribe_entities with a filter"),
        pytest.param({"filters": False}, id="subscribe_entities without one"),
        pytest.param({"missing": {"subscribe_entities"}}, id="subscribe_events"),
    ],
)
async def test_a_node_gets_the_entities_that_it_asks_for(
    home: FakeHomeAssistant, options: dict[str, Any], taken: set[str], old: dict[str, Any]
) -> None:
    for name, value in old.items():
        setattr(home, name, value)
    furnish(home)
    async with running(home, {"a": options}) as flow:
        for entity in ("sensor.a_temp", "sensor.b_power", "light.c"):
            home.set(entity, "2")
        await until(lambda: len(flow["a"].saved) == 2 * len(taken))
        await asyncio.sleep(0.01)

    assert taken == {record.topic for record in flow["a"].saved}
    assert 2 * len(taken) == len(flow["a"].saved)


def furnish(home: FakeHomeAssistant) -> None:
    home.set("sensor.a_temp", "1", {"device_class": "temperature"})
    home.set("sensor.b_power", "1", {"device_class": "power"})
    home.set("light.c", "1", {})
    home.registries = {
        "area": [
            {"area_id": "kitchen_id", "name": "Kitchen", "floor_id": "ground"},
            {"area_id": "attic_id", "name": "Attic", "floor_id": None},
        ],
        "floor": [{"floor_id": "ground", "name": "Ground floor"}],
        "label": [{"label_id": "rec", "name": "Recorded"}],
        "device": [
            {
                "id": "d1",
                "name": "Meter",
                "name_by_user": "My meter",
                "area_id": "attic_id",
                "labels": ["rec"],
            }
        ],
        "entity": [
            {"entity_id": "sensor.b_power", "device_id": "d1", "area_id": None, "labels": []},
            {"entity_id": "light.c", "device_id": None, "area_id": "kitchen_id", "labels": ["rec", "gone"]},
        ],
    }


async def test_registries_are_on_meta_and_follow_their_events(home: FakeHomeAssistant) -> None:
    furnish(home)
    async with running(home, {"a": {"exclude": ["sensor.a_temp"]}}) as flow:
        await until(lambda: len(flow["a"].saved) == 2)
        home.registries["area"][0]["name"] = "Galley"
        for _ in range(20):
            home.fire("area_registry_updated", {"action": "update"})
        await until(lambda: flow.connection.registry.version == 2)
        home.set("light.c", "2")
        await until(lambda: len(flow["a"].saved) == 3)

    meter, lamp, renamed = (dict(record.meta) for record in flow["a"].saved)
    assert ("Attic", "My meter", ["Recorded"]) == (meter["area"], meter["device"], meter["labels"])
    assert ("Kitchen", "Ground floor", ["gone", "Recorded"]) == (lamp["area"], lamp["floor"], lamp["labels"])
    assert "Galley" == renamed["area"]
    assert 2 == len(home.commands("config/area_registry/list"))


async def test_a_version_without_floors_and_labels_has_areas_all_the_same(home: FakeHomeAssistant) -> None:
    furnish(home)
    home.missing = {"config/floor_registry/list", "config/label_registry/list"}
    async with running(home, {"a": {"entities": ["light.c"]}}) as flow:
        await until(lambda: flow["a"].saved)

    assert "Kitchen" == flow["a"].saved[0].meta["area"]
    assert "floor" not in flow["a"].saved[0].meta


async def test_attributes_that_change_or_go_are_merged_into_the_state(home: FakeHomeAssistant) -> None:
    home.set("sensor.a", "1", {"x": 1, "y": [1], "z": None})
    async with running(home, {"a": {}}) as flow:
        home.set("sensor.a", "1", {"x": 2, "z": None, "new": {"deep": True}})
        home.set("sensor.a", None)
        home.set("sensor.a", "3", {"x": 3})
        home.set("sensor.a", "4", {})
        await until(lambda: len(flow["a"].saved) == 4)

    assert [
        {"x": 1, "y": [1], "z": None},
        {"x": 2, "z": None, "new": {"deep": True}},
        {"x": 3},
        {},
    ] == [payload["attributes"] for payload in flow["a"].payloads]
    first, second = flow["a"].payloads[:2]
    assert first["last_changed"] == second["last_changed"] < second["last_updated"]


SCRIPTED = [f"sensor.s{number}" for number in range(5)]


def script(home: FakeHomeAssistant, start: int, stop: int, seconds: float) -> None:
    """Write numbers at an even pace, by Home Assistant's clock, over several entities."""
    each = seconds / (stop - start)
    for number in range(start, stop):
        home.set(SCRIPTED[number % len(SCRIPTED)], str(number), at=home.now + each)


@pytest.mark.parametrize("missing", [set(), {"subscribe_entities"}], ids=["compressed", "events"])
async def test_500_changes_during_an_outage_of_120_s_arrive_once_and_in_order(
    home: FakeHomeAssistant, missing: set[str]
) -> None:
    home.missing = missing
    home.unrecorded = {"sensor.unrecorded"}
    script(home, 0, 5, 1)
    home.set("sensor.unrecorded", "0")
    async with running(home, {"a": {}}) as flow:
        await until(lambda: len(flow["a"].saved) == 6)
        began = home.now
        await home.stop()
        script(home, 5, 505, 120)
        home.set("sensor.unrecorded", "1")
        assert 120 == pytest.approx(home.now - began, abs=0.001)
        await home.start()
        await flow.reconnected_again()
        script(home, 505, 515, 2)
        await until(lambda: len(flow["a"].saved) == 517)

    expected = [texts(0, 515)[number :: len(SCRIPTED)] for number in range(len(SCRIPTED))]
    assert expected == [flow["a"].of(entity) for entity in SCRIPTED]
    origins = [r.meta["origin"] for r in flow["a"].saved if r.topic != "sensor.unrecorded"]
    assert ["resync"] * 5 + ["history"] * 500 + ["live"] * 10 == origins
    assert {"sensor.unrecorded": pytest.approx(120, abs=2)} == flow["a"].gaps
    assert {"gap_seconds": pytest.approx(120, abs=2), "gap_entities": 1} == flow.connection.counts


async def test_rows_that_the_recorder_commits_late_come_before_what_is_newer(home: FakeHomeAssistant) -> None:
    numbers(home, 0, 1)
    numbers(home, 0, 1, "sensor.b")
    async with running(home, {"a": {}}) as flow:
        await until(lambda: len(flow["a"].saved) == 2)
        await home.stop()
        home.commits = False
        numbers(home, 1, 20)
        await home.start()
        await flow.reconnected_again()
        numbers(home, 20, 25)
        numbers(home, 1, 3, "sensor.b")
        await until(lambda: flow["a"].of("sensor.b") == texts(0, 3))  # nothing was missed of this one
        waiting = flow["a"].of("sensor.a")
        home.commit()
        await until(lambda: len(flow["a"].of("sensor.a")) == 25)

    assert ["0"] == waiting
    assert texts(0, 25) == flow["a"].of("sensor.a")


async def test_an_entity_that_the_recorder_leaves_out_is_reported_as_a_gap(home: FakeHomeAssistant) -> None:
    home.unrecorded = {"sensor.b"}
    home.set("sensor.a", "0", at=START)
    home.set("sensor.b", "0", at=START)
    async with running(home, {"a": {}}) as flow:
        await until(lambda: len(flow["a"].saved) == 2)
        await home.stop()
        home.set("sensor.b", "1", at=START + 30)
        home.set("sensor.a", "1", at=START + 40)
        await home.start()
        await until(lambda: len(flow["a"].saved) == 4)

    assert ["0", "1"] == flow["a"].of("sensor.b")
    assert {"sensor.b": pytest.approx(30, abs=2)} == flow["a"].gaps
    assert "resync" == next(r.meta["origin"] for r in flow["a"].saved[2:] if r.topic == "sensor.b")
    assert "'seconds': {'sensor.b': " in flow.logged()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param({"missing": {"history/history_during_period"}}, "gives no history", id="no history"),
        pytest.param({"commits": False}, "changes may be missing", id="the recorder hangs"),
    ],
)
async def test_without_history_the_present_state_comes_and_the_gap_is_reported(
    home: FakeHomeAssistant, fault: dict[str, Any], told: str
) -> None:
    home.set("sensor.a", "0", at=START)
    async with running(home, {"a": {}}) as flow:
        await until(lambda: flow["a"].saved)
        await home.stop()
        for name, value in fault.items():
            setattr(home, name, value)
        home.set("sensor.a", "1", at=START + 30)
        home.set("sensor.a", "2", at=START + 60)
        await home.start()
        await until(lambda: len(flow["a"].saved) == 2)

    assert ["0", "2"] == flow["a"].states
    assert {"sensor.a": pytest.approx(60, abs=2)} == flow["a"].gaps
    assert told in flow.logged()


async def test_history_0s_fills_nothing(home: FakeHomeAssistant) -> None:
    numbers(home, 0, 1)
    async with running(home, {"a": {"history": "0s"}}) as flow:
        await until(lambda: flow["a"].saved)
        await home.stop()
        numbers(home, 1, 5)
        await home.start()
        await until(lambda: len(flow["a"].saved) == 2)

    assert ["0", "4"] == flow["a"].states
    assert [] == home.commands("history/history_during_period")


async def test_a_long_gap_is_filled_hour_by_hour_and_what_is_too_old_is_reported(
    home: FakeHomeAssistant,
) -> None:
    hour = 3600
    home.set("sensor.a", "0", at=START)
    home.set("sensor.b", "0", at=START)
    async with running(home, {"a": {"history": "6h"}}) as flow:
        await until(lambda: len(flow["a"].saved) == 2)
    cursors = flow.cursors()
    cursors["a"]["contact"] = int(START * 1e6)
    for quarter in range(1, 33):
        home.set("sensor.a", str(quarter), at=START + quarter * hour / 4)
    home.set("sensor.b", "1", at=START + 3 * hour)
    async with running(home, {"a": {"history": "6h"}}, cursors=cursors) as again:
        await until(lambda: len(again["a"].of("sensor.a")) == 24 and again["a"].of("sensor.b"))

    assert texts(9, 33) == again["a"].of("sensor.a")
    assert ["1"] == again["a"].of("sensor.b")
    assert {"sensor.a": 2.0 * hour} == again["a"].gaps
    assert 9 == len(home.commands("history/history_during_period"))
    times = [record.time or 0 for record in again["a"].saved]
    assert sorted(times) == times


async def test_a_connection_that_is_lost_while_a_gap_is_filled_loses_nothing(home: FakeHomeAssistant) -> None:
    numbers(home, 0, 1)
    async with running(home, {"a": {}}) as flow:
        await until(lambda: flow["a"].saved)
        await home.stop()
        numbers(home, 1, 100)
        home.deaf = {"history/history_during_period"}
        await home.start()
        await until(lambda: home.commands("history/history_during_period"))
        numbers(home, 100, 110)
        home.deaf = set()
        home.cut()
        await until(lambda: len(flow["a"].saved) == 110)

    assert texts(0, 110) == flow["a"].states


async def test_after_a_restart_of_flowrunner_it_goes_on_where_the_journal_ends(
    home: FakeHomeAssistant,
) -> None:
    numbers(home, 0, 3)
    async with running(home, {"a": {}}) as before:
        numbers(home, 3, 10)
        await until(lambda: len(before["a"].saved) == 8)
    numbers(home, 10, 20)
    async with running(home, {"a": {}}, cursors=before.cursors()) as after:
        await until(lambda: len(after["a"].saved) == 10)
    async with running(home, {"a": {}}, cursors=after.cursors()) as idle:
        await asyncio.sleep(0.05)

    assert texts(2, 20) == before["a"].states + after["a"].states
    assert [] == idle["a"].saved


@pytest.mark.parametrize(
    ("options", "after"),
    [
        pytest.param({}, ["22"], id="by default it is left out"),
        pytest.param({"unavailable": "keep"}, ["22"], id="also with unavailable: keep"),
        pytest.param({"restart_noise": "keep"}, ["21", "22"], id="restart_noise: keep"),
        pytest.param(
            {"restart_noise": "keep", "unavailable": "keep"}, ["unavailable", "21", "22"], id="keep both"
        ),
    ],
)
async def test_a_restart_of_home_assistant_writes_values_again(
    home: FakeHomeAssistant, options: dict[str, Any], after: list[str]
) -> None:
    home.set("sensor.a", "21", ATTRIBUTES)
    async with running(home, {"a": options}) as flow:
        await until(lambda: flow["a"].saved)
        await home.stop()
        home.restart(["sensor.a"])
        await home.start()
        await flow.reconnected_again()
        home.come_up()
        await (await flow.connection.session()).ready.wait()
        home.set("sensor.a", "22")
        await until(lambda: flow["a"].states[-1] == "22")

    assert ["21", *after] == flow["a"].states


async def test_a_restart_of_both_emits_only_what_is_new(home: FakeHomeAssistant) -> None:
    for entity in ("sensor.a", "sensor.b"):
        home.set(entity, "21", ATTRIBUTES)
    async with running(home, {"a": {}}) as before:
        await until(lambda: len(before["a"].saved) == 2)
    home.restart(["sensor.a", "sensor.b"])
    home.come_up()
    home.set("sensor.b", "22")
    async with running(home, {"a": {}}, cursors=before.cursors()) as after:
        await until(lambda: after["a"].saved)
        await asyncio.sleep(0.05)

    assert [("sensor.b", "22", "21")] == [
        (payload["entity_id"], payload["state"], payload["old_state"]) for payload in after["a"].payloads
    ]


async def test_of_very_many_entities_the_most_silent_are_forgotten(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_seen, "LIMIT", 10)
    for number in range(30):
        home.set(f"sensor.n{number}", "1")
    async with running(home, {"a": {}}) as flow:
        await until(lambda: len(flow["a"].saved) == 30)

    assert [f"sensor.n{number}" for number in range(21, 30)] == sorted(flow["a"].cursor["entities"])


async def test_what_is_held_while_a_gap_is_filled_is_bounded(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_feed, "HELD", 5)
    numbers(home, 0, 1)
    async with running(home, {"a": {}}) as flow:
        await until(lambda: flow["a"].saved)
        await home.stop()
        home.commits = False
        numbers(home, 1, 3)
        await home.start()
        await flow.reconnected_again()
        numbers(home, 3, 13)
        await until(lambda: flow["a"].counters.dropped)
        home.commit()
        await until(lambda: len(flow["a"].saved) == 8)

    assert texts(0, 8) == flow["a"].states
    assert {"buffer_full": 5} == flow["a"].counters.dropped


async def test_a_long_history_waits_for_the_journal(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_outbox, "LIMIT", 10)
    numbers(home, 0, 1)
    async with running(home, {"a": {}}) as before:
        await until(lambda: before["a"].saved)
    cursors = before.cursors()
    cursors["a"]["contact"] = int(START * 1e6)
    for hour in range(5):
        for number in range(8):
            home.set("sensor.a", str(hour * 8 + number + 1), at=START + hour * 3600 + number + 1)
    async with running(home, {"a": {}}, cursors=cursors) as after:
        after["a"].full = True
        await until(lambda: after["a"].status == "degraded")
        await asyncio.sleep(0.05)
        after["a"].full = False
        await until(lambda: len(after["a"].saved) == 40)

    assert texts(1, 41) == after["a"].states


async def test_a_server_that_does_not_tell_the_time_is_asked_for_all_since_the_last_change(
    home: FakeHomeAssistant,
) -> None:
    home.tells_date = False
    numbers(home, 0, 1)
    async with running(home, {"a": {}}) as flow:
        await until(lambda: flow["a"].saved)
        await home.stop()
        numbers(home, 1, 10)
        await home.start()
        await until(lambda: len(flow["a"].saved) == 10)

    assert texts(0, 10) == flow["a"].states
    assert flow["a"].cursor["contact"] is None


@pytest.mark.parametrize(
    "command",
    [
        "subscribe_entities",
        "config/entity_registry/list",
        "history/history_during_period",
        "supported_features",
        "get_config",
    ],
)
async def test_an_answer_that_does_not_come_is_asked_for_again(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(_ha_session, "TIMEOUT", 0.05)
    monkeypatch.setattr(_ha_registry, "RETRY", 0.02)
    numbers(home, 0, 1)
    async with running(home, {"a": {}}) as before:
        await until(lambda: before["a"].saved)
    numbers(home, 1, 10)
    home.deaf = {command}
    home.received.clear()
    async with running(home, {"a": {}}, up=False, cursors=before.cursors()) as after:
        await until(lambda: home.commands(command))
        await asyncio.sleep(0.15)
        home.deaf = set()
        await until(lambda: len(after["a"].saved) == 9)

    assert texts(1, 10) == after["a"].states


async def test_a_user_who_may_not_subscribe_is_told_so(home: FakeHomeAssistant) -> None:
    home.forbidden = {"subscribe_entities"}
    async with running(home, {"a": {}}, up=False) as flow:
        await until(lambda: flow["a"].status == "failed")

    assert "Unauthorized (unauthorized)" in flow.logged()


async def test_a_connection_that_is_lost_while_subscribing_is_made_again(home: FakeHomeAssistant) -> None:
    home.deaf = {"subscribe_entities", "config/area_registry/list"}
    async with running(home, {"a": {}}, up=False) as flow:
        await until(lambda: home.commands("config/area_registry/list"))
        home.cut()
        await until(lambda: len(home.commands("config/area_registry/list")) == 2)
        home.deaf = {"subscribe_entities"}
        home.cut()
        await until(lambda: home.commands("subscribe_entities"))
        home.deaf = set()
        home.cut()
        await until(flow.up)

    assert 4 == home.auths


async def test_unavailable_is_left_out_unless_it_is_kept(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}, "b": {"unavailable": "keep"}}) as flow:
        for state in ("1", "unavailable", "unknown", "1", "1"):
            home.set("sensor.a", state)
        await until(lambda: len(flow["a"].saved) == 3 and len(flow["b"].saved) == 5)

    assert ["1", "1", "1"] == flow["a"].states  # a sensor that came back, and one that forces updates
    assert ["1", "unavailable", "unknown", "1", "1"] == flow["b"].states
    assert 2 == flow["a"].counters.filtered


async def test_a_storm_does_not_lose_the_connection_while_the_journal_is_full(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_outbox, "LIMIT", 1000)
    home.most_pending = 1024
    async with running(home, {"a": {}}) as flow:
        flow["a"].full = True
        for burst in range(20):
            numbers(home, burst * 500, burst * 500 + 500)
            await asyncio.sleep(0.01)
        await until(lambda: flow["a"].counters.dropped.get("buffer_full") == 9000)
        assert "degraded" == flow["a"].status
        flow["a"].full = False
        await until(lambda: len(flow["a"].saved) == 1000)
        await until(lambda: flow["a"].status == "running")

    assert texts(9000, 10_000) == flow["a"].states
    assert 0 == flow.context.reconnects


async def test_what_a_broken_disk_did_not_take_is_written_again(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}}) as flow:
        flow["a"].broken = True
        numbers(home, 0, 10)
        await until(lambda: flow["a"].status == "degraded")
        numbers(home, 10, 20)
        flow["a"].broken = False
        await until(lambda: len(flow["a"].saved) == 20)

    assert texts(0, 20) == flow["a"].states


async def test_what_waits_for_a_full_journal_at_the_end_is_counted(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}}) as flow:
        flow["a"].full = True
        numbers(home, 0, 10)
        await until(lambda: flow["a"].status == "degraded")

    assert {"buffer_full": 10} == flow["a"].counters.dropped


async def test_messages_come_as_single_ones_and_as_lists(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}}) as flow:
        numbers(home, 0, 300)
        await until(lambda: len(flow["a"].saved) == 300)
        for number in range(300, 303):
            numbers(home, number, number + 1)
            await until(lambda: len(flow["a"].saved) == number + 1)  # noqa: B023  # at once
        frames = home.clients[0].frames

    assert texts(0, 303) == flow["a"].states
    assert frames["list"] >= 1
    assert frames["dict"] >= 3
    ids = [command["id"] for command in home.received]
    assert sorted(set(ids)) == ids
    assert "supported_features" == home.received[0]["type"]


async def test_a_version_without_coalescing_is_spoken_to_all_the_same(home: FakeHomeAssistant) -> None:
    home.missing = {"supported_features"}
    async with running(home, {"a": {}}) as flow:
        numbers(home, 0, 10)
        await until(lambda: len(flow["a"].saved) == 10)

    assert texts(0, 10) == flow["a"].states


async def test_a_home_with_12_MiB_of_states_is_taken(home: FakeHomeAssistant) -> None:  # noqa: N802
    home.missing = {"subscribe_entities"}
    for number in range(1200):
        home.states[f"sensor.n{number}"] = {
            "state": "1",
            "attributes": {"blob": "x" * 10_240},
            "changed": START,
            "updated": START,
        }
    async with running(home, {"a": {"entities": ["sensor.n1*"]}}) as flow:
        await until(lambda: len(flow["a"].saved) == 311)

    assert 0 == flow.context.reconnects


async def test_events_come_as_they_are(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {"event": "zha_event"}, "b": {"event": "*"}}) as flow:
        home.fire("zha_event", {"command": "toggle"})
        home.fire("other", {})
        await until(lambda: flow["a"].saved and len(flow["b"].saved) == 2)

    record = flow["a"].saved[0]
    assert ("zha_event", int(START * 1e9)) == (record.topic, record.time)
    assert {"event_type": "zha_event", "origin": "live"} == record.meta
    assert {"command": "toggle"} == flow["a"].payloads[0]["data"]
    assert ["zha_event", "other"] == [record.topic for record in flow["b"].saved]


async def test_a_trigger_fires_with_its_variables(home: FakeHomeAssistant) -> None:
    trigger = {"trigger": "time_pattern", "minutes": "/5"}
    async with running(home, {"a": {"trigger": trigger}}) as flow:
        home.trigger({"trigger": {"platform": "time_pattern", "now": "x"}})
        await until(lambda: flow["a"].saved)

    assert trigger == home.commands("subscribe_trigger")[0]["trigger"]
    assert [{"trigger": {"platform": "time_pattern", "now": "x"}}] == flow["a"].payloads
    assert ("a", None) == (flow["a"].saved[0].topic, flow["a"].saved[0].time)


async def test_a_subscription_that_is_refused_fails_the_node_until_it_is_granted(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ha_in, "_REFUSED_PAUSE", 0.05)
    home.missing = {"subscribe_trigger"}
    async with running(home, {"a": {"trigger": {"trigger": "sun"}}}, up=False) as flow:
        await until(lambda: flow["a"].status == "failed")
        assert "Unknown command. (unknown_command)" in (flow["a"].reason or "")
        home.missing = set()
        await until(lambda: flow["a"].status == "running")


async def test_frames_that_make_no_sense_are_counted_and_left_out(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}}) as flow:
        number = next(iter(home.clients[0].entities))
        home.clients[0].send({"id": "x", "type": "event"})
        home.clients[0].send({"id": number, "type": "event", "event": {"c": {"sensor.a": 5}}})
        home.clients[0].send({"id": number, "type": "result", "success": False, "error": None})
        home.clients[0].send({"id": 999, "type": "event", "event": {}})
        home.clients[0].send({"id": 999, "type": "result", "success": True, "result": None})
        await until(lambda: flow.connection.counts["late_answers"] == 1)
        numbers(home, 0, 3)
        await until(lambda: len(flow["a"].saved) == 3)

    assert 1 == flow.connection.counts["unserialisable"]
    assert flow.connection.counts["malformed"] >= 1
    assert texts(0, 3) == flow["a"].states


async def test_a_node_that_ends_unsubscribes_and_leaves_the_connection_to_the_others(
    home: FakeHomeAssistant,
) -> None:
    async with running(home, {"a": {}, "b": {}}) as flow:
        task = asyncio.create_task(flow.nodes["a"].run())
        await until(lambda: len(home.clients[0].entities) == 3)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: len(home.clients[0].entities) == 2)

    assert 1 == home.auths


async def test_the_contact_is_noted_when_nothing_else_happens(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_following, "CONTACT_PERIOD", 0.02)
    async with running(home, {"a": {}}) as flow:
        await until(lambda: flow["a"].cursor is not None and flow["a"].cursor["contact"])

    assert [] == flow["a"].saved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"entities": ["Sensor.A"]}, "has no entity", id="upper case"),
        pytest.param({"entities": ["sensor"]}, "has no entity", id="no dot"),
        pytest.param({"domains": ["sensor.x"]}, "lower-case letters", id="no domain"),
        pytest.param({"trigger": "sun"}, "must be a mapping", id="no trigger"),
        pytest.param({"trigger": []}, "must be a mapping", id="an empty list of triggers"),
        pytest.param({"event": "x", "trigger": {"trigger": "sun"}}, "exclude each other", id="two kinds"),
        pytest.param({"event": "x", "areas": ["y"]}, "`areas` selects states", id="a selection of events"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ha_in.Config(type="ha_in", connection="home", **options)
