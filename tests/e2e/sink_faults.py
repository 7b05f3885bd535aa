"""Faults of sinks in a whole installation, as functions: the tests assert what they return, `make faults` prints it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.process import START_SECONDS, Flowrunner
from tests.servers.fake_influx import FakeInflux, Fault, Reply

FLOW = """
version: 1
flow: {flow}
connections:
  {flow}_db: {{ type: influxdb, url: "{url}", org: home, token: "{token}", timeout: 2s }}
nodes:
  readings: {{ type: file_in, path: "{path}", follow: true, time: {{ field: time, format: ns }}, topic: kitchen }}
  store:
    type: influxdb_out
    from: readings
    connection: {flow}_db
    bucket: home
    measurement: {flow}
    tags: {{ sensor: =topic }}
    fields: {{ id: =payload.id }}
    types: {{ id: int }}
    batch: {{ max_age: 100ms }}
    {options}
  keep:
    type: sqlite_out
    from: readings
    path: "{path}.sqlite"
    measurement: keep
    fields: {{ id: =payload.id }}
"""
OUTBOX = "outbox: { max_bytes: 64MiB }"
START = 1_772_359_200_000_000_000
_REST = 0.5


@dataclass
class Evidence:
    """What came of a fault: numbers of readings that were made, arrived, and how."""

    made: int
    stored: list[int]
    """The readings that the database was sent, in order, repeats included."""
    kept: int
    """The readings that the sibling, which was up all the time, has."""
    kept_during: int
    """How many it had just before the fault was over."""
    others: int
    """Points that are none of the readings: another time, another value."""
    unaccounted: int
    held: int
    recovered_in: float
    """Seconds from the end of the fault until everything was written."""
    lags: list[float] = field(default_factory=list)
    """Seconds from a reading of another flow to its arrival, while the fault lasted and while it was made up for."""

    @property
    def lost(self) -> int:
        return self.made - len(set(self.stored))

    @property
    def duplicated(self) -> int:
        return len(self.stored) - len(set(self.stored))

    @property
    def in_order(self) -> bool:
        first = list(dict.fromkeys(self.stored))
        return first == sorted(first)


class Household:
    """A process, a database, and files that grow by readings: one a flow."""

    def __init__(self, folder: Path, server: FakeInflux, flowrunner: Flowrunner) -> None:
        self.folder = folder
        self.server = server
        self.flowrunner = flowrunner
        self.made: dict[str, int] = {}

    async def start(self) -> None:
        """Start the process; it need not be ready, as the database may be down."""
        self.flowrunner.launch()
        await self.flowrunner.until(lambda: self.flowrunner.get("/livez")[0] == 200, START_SECONDS)

    def deploy(self, flow: str, options: str = "", token: str | None = None) -> None:
        """Write a flow; ``options`` are added to its sink ``store``, ``token`` stands in the file as it is."""
        self.made.setdefault(flow, 0)
        self._file(flow).touch()
        text = FLOW.format(
            flow=flow,
            url=self.server.url,
            token=token or f"${{INFLUX_TOKEN:-{self.server.token}}}",
            path=self._file(flow),
            options=options,
        )
        self.flowrunner.write(f"{flow}.yaml", text)

    def make(self, flow: str, count: int) -> None:
        """Add readings to the file of a flow."""
        first = self.made[flow]
        self.made[flow] += count
        with self._file(flow).open("a") as file:
            file.writelines(
                json.dumps({"id": number, "time": START + number * 1_000_000}) + "\n"
                for number in range(first, first + count)
            )

    def kept(self, flow: str) -> int:
        """Return how many readings the sibling of the sink has."""
        file = Path(f"{self._file(flow)}.sqlite")
        if not file.exists():
            return 0
        with sqlite3.connect(file) as database:
            return int(database.execute("SELECT count(*) FROM points").fetchone()[0])

    def books(self, flow: str) -> tuple[int, int]:
        """Return what is held, and what is not accounted for; -1 while the process does not answer."""
        books = self.flowrunner.ledger(flow)
        return (books["held"], books["unaccounted"]) if books else (-1, -1)

    async def settled(self, flow: str, seconds: float) -> None:
        """Return when all that was made has been read and has ended."""

        def quiet() -> bool:
            books = self.flowrunner.ledger(flow)
            return bool(books) and books["received"] >= self.made[flow] and books["held"] == 0

        await self.flowrunner.until(quiet, seconds)

    def evidence(self, flow: str, *, kept_during: int, recovered_in: float) -> Evidence:
        """Return what has become of the readings of a flow."""
        points = [line for line in self.server.stored if line.startswith(f"{flow},")]
        numbers = [int(line.split("id=")[1].split("i ")[0]) for line in points]
        right = {f"{flow},sensor=kitchen id={n}i {START + n * 1_000_000}" for n in range(self.made[flow])}
        held, unaccounted = self.books(flow)
        return Evidence(
            made=self.made[flow],
            stored=numbers,
            kept=self.kept(flow),
            kept_during=kept_during,
            others=len(set(points) - right),
            unaccounted=unaccounted,
            held=held,
            recovered_in=recovered_in,
        )

    def _file(self, flow: str) -> Path:
        return self.folder / f"{flow}.jsonl"


async def killed_with_an_outbox(folder: Path, *, kills: int = 6, count: int = 500) -> Evidence:
    """Kill the process again and again while the database is down, comes back, and goes again."""
    chance = random.Random(4711)
    async with FakeInflux() as server, Flowrunner(folder, checkpoint_every="300ms") as flowrunner:
        house = Household(folder, server, flowrunner)
        house.deploy("climate", OUTBOX)
        server.always = Reply(503)
        await house.start()
        for number in range(kills):
            server.always = None if number % 3 == 2 else Reply(503)
            house.make("climate", count)
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            flowrunner.kill()
            await house.start()
        server.always = Reply(503)
        house.make("climate", count)
        await flowrunner.until(lambda: house.kept("climate") == house.made["climate"], 30)
        during, ended = house.kept("climate"), time.monotonic()
        server.always = None
        await house.settled("climate", 90)
        return house.evidence("climate", kept_during=during, recovered_in=time.monotonic() - ended)


async def the_token_file_is_corrected(folder: Path, *, count: int = 2_000) -> Evidence:
    """Let the token in a file be wrong, then write the right one and send SIGHUP."""
    file = folder / "token"
    async with FakeInflux() as server, Flowrunner(folder, checkpoint_every="300ms") as flowrunner:
        file.write_text("wrong")
        house = Household(folder, server, flowrunner)
        house.deploy("climate", token=f"${{file:{file}}}")
        await house.start()
        house.make("climate", count)
        await flowrunner.until(lambda: "check the `token`" in str(flowrunner.get("/readyz")[1]), 30)
        during, ended = house.kept("climate"), time.monotonic()
        file.write_text(server.token)
        assert flowrunner.process is not None
        flowrunner.process.send_signal(signal.SIGHUP)
        await house.settled("climate", 60)
        return house.evidence("climate", kept_during=during, recovered_in=time.monotonic() - ended)


async def one_sink_stalls(
    folder: Path, fault: Fault, *, seconds: float = 4.0, backlog: int = 20_000
) -> Evidence:
    """Let the database of one flow misbehave, and watch another flow meanwhile and while the backlog is made up for."""
    async with (
        FakeInflux() as bad,
        FakeInflux() as good,
        Flowrunner(folder, checkpoint_every="1s") as flowrunner,
    ):
        house, other = Household(folder, bad, flowrunner), Household(folder, good, flowrunner)
        house.deploy("climate")
        other.deploy("garden")
        bad.always = fault
        await house.start()
        house.make("climate", backlog)
        lags = await _lags(other, "garden", seconds)
        during, ended = house.kept("climate"), time.monotonic()
        bad.always = None
        recovery = asyncio.create_task(house.settled("climate", 90))
        while not recovery.done():
            lags += await _lags(other, "garden", 1.0)
        await recovery
        found = house.evidence("climate", kept_during=during, recovered_in=time.monotonic() - ended)
        found.lags = lags
        return found


async def _lags(house: Household, flow: str, seconds: float) -> list[float]:
    """Make a reading every 100 ms and return how long each took to be stored."""
    lags, end = list[float](), time.monotonic() + seconds
    while time.monotonic() < end:
        house.make(flow, 1)
        started, expected = time.monotonic(), house.made[flow]
        async with asyncio.timeout(20):
            while len(house.server.stored) < expected:
                await asyncio.sleep(0.005)
        lags.append(time.monotonic() - started)
        await asyncio.sleep(0.1)
    return lags


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
