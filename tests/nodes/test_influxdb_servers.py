"""`influxdb_out` against real servers: what they hold is what was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner import Message, RetryLater
from tests.nodes.influx_harness import START, connected, deliver, readings, sink
from tests.servers.influxd import Influxd
from tests.servers.victoriametrics import VictoriaMetrics

pytestmark = pytest.mark.server


@pytest.fixture
async def influxd(tmp_path: Path) -> AsyncIterator[Influxd]:
    async with Influxd(tmp_path) as server:
        await server.create("home")
        yield server


async def test_influxd_holds_every_kind_of_value_as_it_was_sent(influxd: Influxd) -> None:
    topic = 'zigbee2mqtt/Küche, "links"=1 \\x'
    payload = {
        "mean": 21.125,
        "count": 3,
        "on": True,
        "text": 'say "hi" \\ äöü 🙂\nevil f=1',
        "a b,c=d": 1.5,
        "big": 1e20,
        "tab": "a\tb",
    }
    async with connected(influxd.url) as connection:
        node = sink(connection, measurement="climate room, 1", types={"count": "int"})
        delivery = await deliver(node, [Message(topic, payload, START + 123_456_789)])

    assert delivery.failures == []
    assert await influxd.read("home", "climate room, 1") == [
        {
            "time": str(START + 123_456_789),
            "sensor": topic,
            "mean": "21.125",
            "count": "3",
            "on": "true",
            "text": 'say "hi" \\ äöü 🙂 evil f=1',
            "a b,c=d": "1.5",
            "big": "100000000000000000000",
            "tab": "a\tb",
        }
    ]


AWKWARD = [
    "a\\b",
    'a"b',
    "a'b",
    "x=y,z",
    "#x",
    " a ",
    "ä",
    "🙂",
    "a=",
    "\\a",
    "%s",
    "a\\ b"[:2] + "n",
    "_x",
    "'",
]


@pytest.mark.parametrize("awkward", AWKWARD)
async def test_influxd_reads_awkward_names_as_they_were_written(influxd: Influxd, awkward: str) -> None:
    measurement = awkward.replace("#", "x#")
    async with connected(influxd.url) as connection:
        node = sink(connection, measurement=measurement, tags={f"t{awkward}": "=topic"})
        delivery = await deliver(node, [Message(awkward, {f"f{awkward}": awkward}, START)])

    assert delivery.failures == []
    (row,) = await influxd.read("home", measurement.replace("\\", "\\\\").replace('"', '\\"'))
    assert row == {"time": str(START), f"t{awkward}": awkward, f"f{awkward}": awkward}


@pytest.mark.parametrize("version", [1, 2])
async def test_influxd_takes_five_thousand_points_in_one_request(influxd: Influxd, version: int) -> None:
    url = influxd.v1_url if version == 1 else influxd.url
    async with connected(url, version=version) as connection:
        await deliver(sink(connection), readings(5_000))
        await deliver(sink(connection), readings(5_000))

    rows = await influxd.read("home", "climate")
    assert [row["value"] for row in rows] == [str(index) for index in range(5_000)]


@pytest.mark.parametrize(("precision", "unit"), [("us", 10**3), ("ms", 10**6), ("s", 10**9)])
async def test_influxd_reads_timestamps_in_the_unit_they_were_written_in(
    influxd: Influxd, precision: str, unit: int
) -> None:
    time = START + 123_456_789
    async with connected(influxd.url) as connection:
        await deliver(sink(connection, precision=precision), [Message("kitchen", {"value": 1}, time)])

    (row,) = await influxd.read("home", "climate")
    assert int(row["time"]) == time // unit * unit


@pytest.mark.parametrize("version", [1, 2])
async def test_influxd_rejects_another_type_and_keeps_the_rest_of_the_batch(
    influxd: Influxd, version: int
) -> None:
    url = influxd.v1_url if version == 1 else influxd.url
    async with connected(url, version=version) as connection:
        await deliver(sink(connection), readings(1))
        wrong = Message("kitchen", {"value": "21"}, START + 1)

        delivery = await deliver(sink(connection), [*readings(50), wrong, *readings(100)[50:]])

    assert [message for message, _ in delivery.failures] == [wrong]
    assert 'field type conflict: input field "value" on measurement "climate"' in delivery.reasons[0]
    assert len(await influxd.read("home", "climate")) == 100


async def test_influxd_is_waited_for_until_the_bucket_is_there(influxd: Influxd) -> None:
    async with connected(influxd.url) as connection:
        node = sink(connection, bucket="later")
        with pytest.raises(RetryLater) as later:
            await node.write(readings(3))
        await influxd.create("later")
        await deliver(node, readings(3))

    assert later.value.operator
    assert 'database not found: "later"' in later.value.reason
    assert len(await influxd.read("later", "climate")) == 3


async def test_influxd_refuses_a_wrong_token(influxd: Influxd) -> None:
    async with connected(influxd.url, token="wrong") as connection:
        with pytest.raises(RetryLater, match="answered 401: unauthorized access; check the `token`") as later:
            await sink(connection).write(readings(1))

    assert later.value.operator


async def test_victoriametrics_reads_the_same_points(tmp_path: Path) -> None:
    topic = 'Küche, "links"=1 x'
    payload = {"mean": 21.125, "count": 3, "text": "x\nevil f=1", "on": True}
    async with VictoriaMetrics(tmp_path) as server, connected(server.url) as connection:
        node = sink(connection, types={"count": "int"}, precision="ms")
        await deliver(node, [Message(topic, payload, START)])
        series = await server.read('{__name__!=""}')

    found = {row["metric"]["__name__"]: row for row in series}
    assert {name: row["values"] for name, row in found.items()} == {
        "climate_mean": [21.125],
        "climate_count": [3],
        "climate_on": [1],
        "climate_text": [0],
    }
    assert found["climate_mean"]["metric"]["sensor"] == topic
    assert found["climate_mean"]["timestamps"] == [START // 10**6]
