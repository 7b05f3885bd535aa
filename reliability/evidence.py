"""What a run has left behind: its journal, its dead letters, its points, and the windows that the journal gives."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from flowrunner import JournalFull, Record, SystemClock
from flowrunner.graph.load import load_flows
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.journal.entry import Entry
from flowrunner.runtime.letters.letter import DeadLetter
from flowrunner.runtime.letters.table import Selection
from flowrunner.runtime.storage import FlowSettings, Storage
from reliability.oracle import Account, Point, judge
from reliability.plant import WINDOWS, Plant
from reliability.publisher import STRANGE_TOPIC, number_of
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import Replay, registered
from tests.servers.fake_influx import FakeInflux, points

_AT_ONCE = 1000
_PAGE = 1000


async def account(plant: Plant) -> Account:
    """Judge a plant whose flowrunner has ended."""
    storage = Storage("climate", "journal", FlowSettings(state_dir=plant.flowrunner.state), SystemClock())
    await storage.open()
    try:
        everything = await _entries(storage)
        letters = await _letters(storage)
    finally:
        await storage.close()
    entries = [entry for entry in everything if entry.topic != STRANGE_TOPIC]
    recomputed = await _recomputed(entries, plant.folder)
    every = [line for line in plant.lines if line.startswith("every,")]
    windows = [line for line in plant.lines if line.startswith("climate,")]
    return judge(
        published=plant.publisher.published,
        acknowledged=plant.publisher.acknowledged,
        excused=plant.excused,
        journal=[_point(entry) for entry in entries],
        undecodable=[_point(entry) for entry in entries if not _decodable(entry.data)],
        database=[(number_of(line), int(line.rpartition(" ")[2])) for line in every],
        standing=[(number_of(fields), int(time)) for (_, time), fields in points(every).items()],
        rows=_rows(plant.folder / "keep.sqlite"),
        letters=[(letter.node, _point_of(letter)) for letter in letters if letter.topic != STRANGE_TOPIC],
        windows=points(windows),
        recomputed=recomputed,
        strange=[entry.seq for entry in everything if entry.topic == STRANGE_TOPIC],
        strange_letters={letter.position for letter in letters if letter.topic == STRANGE_TOPIC},
    )


def _point(entry: Entry) -> Point:
    return number_of(entry.data), entry.time


def _decodable(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


async def _entries(storage: Storage) -> list[Entry]:
    entries: list[Entry] = []
    while found := await storage.journal.read(entries[-1].seq if entries else 0):
        entries += found
    return entries


async def _letters(storage: Storage) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    after = 0
    while found := await storage.store.read_dead_letters(Selection(after=after, limit=_PAGE)):
        letters += [kept.letter for kept in found]
        after = found[-1].number
    return letters


def _point_of(letter: DeadLetter) -> Point:
    payload = letter.payload
    return number_of(payload) if isinstance(payload, str) else payload["id"], letter.time


def _rows(file: Path) -> list[Point]:
    with closing(sqlite3.connect(file)) as database:
        return [
            (number_of(fields), time) for fields, time in database.execute("SELECT fields, time FROM points")
        ]


async def _recomputed(entries: list[Entry], folder: Path) -> dict[tuple[str, str], str]:
    """Run the same flow over the same journal, from the beginning to the end without a break."""
    async with FakeInflux() as influx:
        text = WINDOWS.format(
            edition=0,
            mqtt=1,
            protocol=5,
            influx=influx.url.rpartition(":")[2],
            token=influx.token,
            source="{ type: replay }",
        )
        file = folder / "undisturbed.yaml"
        file.write_text(text)
        with registered(replay=Replay):
            graph = load_flows([file], environment={}, strict_environment=True).graphs["climate"]
        settings = FlowSettings(state_dir=Path("unused"))
        storage = Storage("climate", "memory", settings, SystemClock())
        await storage.open()
        runner = FlowRunner(graph, storage, settings, SystemClock(), RecordingLog())
        task = asyncio.create_task(runner.run())
        await runner.ready.wait()
        await _post(runner, entries)
        while runner.ledger.held:
            await asyncio.sleep(0.05)
        runner.stop(5.0)
        await task
        await storage.close()
        return influx.points


async def _post(runner: FlowRunner, entries: list[Entry]) -> None:
    source = runner.assembly.sources["sensors"]
    for first in range(0, len(entries), _AT_ONCE):
        records = [
            Record(entry.data, entry.topic, entry.time, entry.meta or {}, entry.clock)
            for entry in entries[first : first + _AT_ONCE]
        ]
        while True:
            try:
                await source.context.post(records)
            except JournalFull:
                await asyncio.sleep(0.05)
            else:
                break
    assert isinstance(source.node, Replay)
    source.node.end.set()
