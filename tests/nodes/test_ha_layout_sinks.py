"""The sinks with `layout: home_assistant`: what arrives, what is counted, which options go together."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner import Context, Message
from flowrunner_nodes.influxdb_out import InfluxdbOut
from flowrunner_nodes.sqlite_out import SqliteOut
from tests.nodes.ha_oracle import captured_lines, captured_messages
from tests.nodes.harness import RecordingLog, SetClock, options
from tests.nodes.influx_harness import connected, deliver
from tests.servers.fake_influx import FakeInflux, Reply

CHANGED = 5
"""Captured lines that 2026.11, or an entity that is no JSON, has otherwise; test_ha_layout.py names them."""


def state(entity: str, value: str, **attributes: Any) -> Message:
    return Message(entity, {"entity_id": entity, "state": value, "attributes": attributes}, 1_000)


LEFT_OUT = [state("light.lamp", "on"), state("sensor.a", "unknown"), state("sensor.b", "nan")]
EXCLUDING = {"layout": "home_assistant", "home_assistant": {"exclude": {"domains": ["light"]}}}


def influxdb_out(connection: Any, **given: Any) -> InfluxdbOut:
    context = Context("flow", "store", log=RecordingLog(), clock=SetClock(), connection=connection)
    return InfluxdbOut(options(InfluxdbOut, connection="tsdb", bucket="home", **given), context)


async def test_the_captured_states_arrive_as_home_assistant_wrote_them() -> None:
    async with FakeInflux() as server, connected(server.url) as connection:
        node = influxdb_out(connection, layout="home_assistant")

        delivery = await deliver(node, captured_messages())

    assert [] == delivery.failures
    assert 66 - CHANGED == len(set(captured_lines()) & set(server.stored))
    assert {"no_state": 3, "no_field": 2} == node.context.counters.dropped


async def test_states_without_a_point_are_counted_once_when_the_server_is_busy() -> None:
    async with FakeInflux() as server, connected(server.url) as connection:
        server.script.append(Reply(503))
        node = influxdb_out(connection, **EXCLUDING)

        delivery = await deliver(node, [*LEFT_OUT, state("sensor.c", "1"), Message("x", 5, 1)])

    assert ["sensor.c,domain=sensor,entity_id=c value=1 1000"] == server.stored
    assert {"excluded": 1, "no_state": 1, "no_field": 1} == node.context.counters.dropped
    assert [5] == delivery.failed
    assert 1 == len(delivery.retries) == node.context.counters.written


async def test_a_batch_without_points_asks_no_server() -> None:
    async with FakeInflux() as server, connected(server.url) as connection:
        await deliver(influxdb_out(connection, **EXCLUDING), LEFT_OUT)

        assert [] == server.writes


async def test_precision_cuts_the_time() -> None:
    async with FakeInflux() as server, connected(server.url) as connection:
        await deliver(influxdb_out(connection, precision="us", **EXCLUDING), [state("sensor.c", "1")])

    assert ["sensor.c,domain=sensor,entity_id=c value=1 1"] == server.stored
    assert "us" == server.writes[0].query["precision"]


async def test_points_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "home.sqlite"
    context = Context("flow", "store", log=RecordingLog(), clock=SetClock())
    node = SqliteOut(options(SqliteOut, path=str(path), **EXCLUDING), context)
    await node.open()

    delivery = await deliver(
        node, [*LEFT_OUT, state("sensor.c", "on", unit_of_measurement="W"), Message("x", 5, 1)]
    )

    await node.close()
    database = sqlite3.connect(path)
    rows = [
        (name, json.loads(tags), time, json.loads(fields))
        for name, tags, time, fields in database.execute("SELECT * FROM points")
    ]
    database.close()
    assert [("W", {"domain": "sensor", "entity_id": "c"}, 1_000, {"state": "on", "value": 1.0})] == rows
    assert {"excluded": 1, "no_state": 1, "no_field": 1} == context.counters.dropped
    assert [5] == delivery.failed


@pytest.mark.parametrize("message", LEFT_OUT, ids=["excluded", "no_state", "no_field"])
def test_what_is_shown_of_a_state_without_a_point(message: Message, tmp_path: Path, request: Any) -> None:
    context = Context("flow", "store", log=RecordingLog(), clock=SetClock())
    sqlite = SqliteOut(options(SqliteOut, path=str(tmp_path / "x"), **EXCLUDING), context)

    reason = f"({request.node.callspec.id})"
    assert [reason, reason] == [sqlite.show(message), influxdb_out(None, **EXCLUDING).show(message)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "`measurement` is missing"),
        ({"measurement": "m", "home_assistant": {}}, "`home_assistant` is only for `layout: home_assistant`"),
        (
            {"layout": "home_assistant", "measurement": "m"},
            "`measurement` is not for `layout: home_assistant`",
        ),
        ({"layout": "home_assistant", "tags": {"a": "b"}}, "`tags` is not for `layout: home_assistant`"),
        ({"layout": "home_assistant", "fields": {"a": 1}}, "`fields` is not for `layout: home_assistant`"),
        ({"layout": "home_assistant", "types": {"a": "int"}}, "`types` is not for `layout: home_assistant`"),
    ],
)
def test_options_of_the_other_layout_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        influxdb_out(None, **given)
