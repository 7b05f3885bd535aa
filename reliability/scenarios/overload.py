"""More than disk or journal can take, for longer than a connection lives without an answer."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from reliability.plant import Plant, running
from reliability.publisher import is_poison, number_of
from reliability.scenario import Outcome, scenario
from reliability.trial import WARM_UP, disturbance, endure, publishing, watching
from tests.servers.fake_influx import Reply

_FLOOD = 3000.0
_STREAM = 1000.0
_THREE_KEEPALIVES = 12.0
_SMALL = "1MiB"


@scenario(
    "a flood while the disk is full",
    "What cannot be kept stays at the broker, longer than a keepalive too, and comes when there is room.",
    seconds=200,
)
async def flood_on_a_full_disk(folder: Path) -> Outcome:
    plant = Plant(folder, rate=_FLOOD)
    return await endure(plant, disturbance("flowrunner: disk full", _THREE_KEEPALIVES))


@scenario(
    "a stream while the journal is full",
    "A journal at its cap leaves the rest to the broker, longer than a keepalive too, and loses nothing.",
    seconds=200,
)
async def stream_on_a_full_journal(folder: Path) -> Outcome:
    plant = Plant(folder, rate=_STREAM, journal_max_bytes=_SMALL)
    async with running(plant), watching(plant):
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            plant.influx.always = Reply(503, "busy")
            await plant.until(lambda: _full(plant), "the journal does not fill", 60)
            await asyncio.sleep(_THREE_KEEPALIVES)
            assert await _full(plant), "the journal took more than its cap"
            plant.influx.always = None
            seconds = await plant.fresh()
        await plant.settled()
        books = await plant.books()
        plant.answering = False
        assert await plant.flowrunner.stop() == 0
    # Its history has given way, so it is the publisher's books that the sinks' are held against.
    due = {number for number in plant.publisher.acknowledged if not is_poison(number)}
    with closing(sqlite3.connect(folder / "keep.sqlite")) as database:
        kept = {number_of(fields) for (fields,) in database.execute("SELECT fields FROM points")}
    lost = (due - plant.written) | (due - kept)
    return Outcome(len(lost), 0, books["dead_lettered"], seconds)


async def _full(plant: Plant) -> bool:
    _, body = await plant.get("/readyz")
    return "journal" in str(body.get("trouble") if isinstance(body, dict) else body)
