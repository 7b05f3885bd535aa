"""A journal at its cap, source by source: who stops keeps everything, who must drop counts it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from secrets import token_hex

import pytest

from flowrunner import Source
from flowrunner.registry import find_node_type, node_type_names
from tests.e2e.process import Flowrunner
from tests.e2e.test_journal_faults import acknowledged, ids, publish
from tests.servers.fake_home_assistant import TOKEN, FakeHomeAssistant
from tests.servers.fake_influx import FakeInflux, Reply
from tests.servers.mosquitto import Mosquitto

STORE = """
  store:
    type: influxdb_out
    from: source
    connection: tsdb
    bucket: home
    measurement: m
    fields: {{ id: {id} }}
    types: {{ id: int }}
"""
HEAD = """
version: 1
flow: home
connections:
  tsdb: {{ type: influxdb, url: "{influx}", org: home, token: "{token}" }}
"""
DOWN = Reply(503, headers={"Retry-After": "1"})


def test_every_source_says_what_it_does_when_the_journal_is_full() -> None:
    types = [type for name in node_type_names() if (type := find_node_type(name)) is not None]
    policies = {type.name: type.cls.when_journal_full for type in types if issubclass(type.cls, Source)}

    assert {
        "file_in": "stop",
        "ha_in": "drop_oldest",
        "http_in": "stop",
        "inject": "stop",
        "mqtt_in": "stop",
    } == policies
    assert all(f"(`{policies.get(type.name)}`)" in (type.when_journal_full or "(`None`)") for type in types)


def journal_is_full(flowrunner: Flowrunner) -> bool:
    return "journal has reached its cap" in json.dumps(flowrunner.get("/readyz")[1])


@pytest.mark.timeout(120)
async def test_mqtt_in_stops_and_the_broker_keeps_the_rest(tmp_path: Path) -> None:
    source = """
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{broker}" }}
nodes:
  source: {{ type: mqtt_in, connection: broker, topics: ["home/#"], qos: 1 }}
"""
    async with (
        Mosquitto(tmp_path / "mosquitto", options="log_type all") as broker,
        FakeInflux() as influx,
        Flowrunner(tmp_path, checkpoint_every="500ms", journal_max_bytes="1MiB") as flowrunner,
    ):
        influx.always = DOWN
        text = (HEAD + source + STORE).format(
            influx=influx.url, token=influx.token, broker=broker.port, id="=payload.id"
        )
        flowrunner.write("home.yaml", text)
        flowrunner.launch()
        await flowrunner.until(lambda: "Sending SUBACK to flowrunner" in broker.log())
        # Each call publishes a message of 200 kB first: the journal holds only a few of them.
        for first in range(0, 400, 20):
            await asyncio.to_thread(publish, broker.port, range(first, first + 20))
        await flowrunner.until(lambda: journal_is_full(flowrunner))
        taken = acknowledged(broker)
        await asyncio.sleep(1)
        assert taken == acknowledged(broker) < 400

        influx.always = None
        await flowrunner.until(lambda: len(ids(influx)) == 400, 60)
        await flowrunner.until(lambda: flowrunner.get("/readyz")[0] == 200)
        books = flowrunner.ledger("home")
        assert (400, {}, 0) == (books["received"], books["dropped"], books["unaccounted"])
        assert 400 == acknowledged(broker)


@pytest.mark.timeout(120)
async def test_http_in_answers_503_and_takes_the_same_again_later(tmp_path: Path) -> None:
    source = """
nodes:
  source: { type: http_in, token: "canary-token-of-the-hook", max_bytes: 1MiB }
"""
    async with (
        FakeInflux() as influx,
        Flowrunner(tmp_path, checkpoint_every="500ms", journal_max_bytes="1MiB") as flowrunner,
    ):
        influx.always = DOWN
        text = HEAD.format(influx=influx.url, token=influx.token) + source + STORE.format(id="=payload.id")
        flowrunner.write("home.yaml", text)
        flowrunner.launch()
        await flowrunner.until(lambda: flowrunner.get("/livez")[0] == 200)
        await flowrunner.until(lambda: post(flowrunner, -1) == 202)
        answers = [await asyncio.to_thread(post, flowrunner, number, 100_000) for number in range(40)]
        assert {202, 503} == set(answers)
        assert journal_is_full(flowrunner)

        influx.always = None
        refused = [number for number, answer in enumerate(answers) if answer == 503]
        for number in refused:
            await flowrunner.until(lambda number=number: post(flowrunner, number, 100_000) == 202)
        await flowrunner.until(lambda: len(ids(influx)) == 41)
        books = flowrunner.ledger("home")
        assert (41, 0) == (books["written"], books["unaccounted"])
        assert all(count == 1 for count in ids(influx).values())


def post(flowrunner: Flowrunner, number: int, size: int = 10) -> int:
    """Post a body that hardly compresses; return the status of the answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{flowrunner.port}/in/home/source",
        json.dumps({"id": number, "noise": token_hex(size)}).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer canary-token-of-the-hook"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.timeout(120)
async def test_ha_in_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    source = """
  house: {{ type: home_assistant, url: "{home}", token: "{ha_token}" }}
nodes:
  source: {{ type: ha_in, connection: house, entities: ["sensor.*"] }}
"""
    async with (
        FakeHomeAssistant() as home,
        FakeInflux() as influx,
        Flowrunner(tmp_path, checkpoint_every="500ms", journal_max_bytes="1MiB") as flowrunner,
    ):
        influx.always = DOWN
        text = (HEAD + source + STORE).format(
            influx=influx.url, token=influx.token, home=home.url, ha_token=TOKEN, id="=int(payload.state)"
        )
        flowrunner.write("home.yaml", text)
        flowrunner.launch()
        await flowrunner.until(lambda: bool(home.clients))
        await asyncio.sleep(1)
        sent = 0

        def storm() -> bool:
            return bool(flowrunner.ledger("home").get("dropped", {}).get("buffer_full"))

        while not await asyncio.to_thread(storm):
            for _ in range(3000):
                sent += 1
                home.set(f"sensor.s{sent % 50}", str(sent))
            await asyncio.sleep(0.3)
            assert sent < 300_000
        influx.always = None
        await flowrunner.until(
            lambda: flowrunner.ledger("home").get("held") == 0 and max(ids(influx), default=0) == sent, 90
        )
        books = flowrunner.ledger("home")
        assert {"buffer_full"} == set(books["dropped"])
        assert (0, sent) == (books["unaccounted"], books["written"] + books["dropped"]["buffer_full"])
        assert books["dropped"]["buffer_full"] == sent - len(ids(influx))
