"""A Home Assistant that storms and goes away."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from reliability.scenario import Outcome, scenario
from tests.e2e.process import Flowrunner
from tests.servers.fake_home_assistant import TOKEN, FakeHomeAssistant

FLOW = """\
version: 1
flow: home
connections:
  home: {{ type: home_assistant, url: "{url}", token: "${{HA_TOKEN:-{token}}}" }}
nodes:
  states: {{ type: ha_in, connection: home, entities: ["sensor.*"] }}
  keep:
    type: sqlite_out
    from: states
    path: "{folder}/keep.sqlite"
    measurement: state
    tags: {{ entity: =topic }}
    fields: {{ state: =payload.state }}
"""
_ENTITIES = 200
_RATE = 4000
_SECONDS = 4
_AWAY = 500
_TICK = 0.02


@scenario(
    "Home Assistant: storm and outage",
    "A storm costs no connection; what changes while it is away comes from its history, each change once.",
)
async def storm_and_outage(folder: Path) -> Outcome:
    async with FakeHomeAssistant() as home, Flowrunner(folder, checkpoint_every="500ms") as flowrunner:
        for number in range(_ENTITIES):
            home.set(f"sensor.s{number}", "-1")
        flow = FLOW.format(url=home.url, token=TOKEN, folder=folder)
        flowrunner.write("home.yaml", flow)
        await flowrunner.start()
        stormed = await _storm(home)
        connects = home.connects
        await home.stop()
        for number in range(stormed, stormed + _AWAY):
            _change(home, number)
        await home.start()
        began = time.monotonic()
        last = stormed + _AWAY - 1
        await flowrunner.until(lambda: last in _rows(folder) and flowrunner.get("/readyz")[0] == 200)
        seconds = time.monotonic() - began
        await flowrunner.until(lambda: flowrunner.ledger("home")["held"] == 0)
        books = flowrunner.ledger("home")
        assert await flowrunner.stop() == 0
    rows = _rows(folder)
    dropped = books["dropped"].get("buffer_full", 0)
    assert connects == 1, "the storm cost the connection"
    assert books["unaccounted"] == 0, books
    missing = set(range(stormed + _AWAY)) - set(rows)
    return Outcome(lost=len(missing) - dropped, duplicated=len(rows) - len(set(rows)), recovered_in=seconds)


def _change(home: FakeHomeAssistant, number: int) -> None:
    home.set(f"sensor.s{number % _ENTITIES}", str(number))


async def _storm(home: FakeHomeAssistant) -> int:
    """Change states at an even pace; return how many."""
    loop = asyncio.get_running_loop()
    start, each = loop.time(), int(_RATE * _TICK)
    for tick in range(int(_SECONDS / _TICK)):
        for number in range(tick * each, (tick + 1) * each):
            _change(home, number)
        await asyncio.sleep(max(0.0, start + (tick + 1) * _TICK - loop.time()))
    return int(_SECONDS / _TICK) * each


def _rows(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "keep.sqlite")) as database:
        values = database.execute("SELECT json_extract(fields, '$.state') FROM points").fetchall()
    return [int(value) for (value,) in values if int(value) >= 0]
