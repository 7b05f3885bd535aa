"""A flow into an InfluxDB that is down for an hour, in virtual time: the real engine, the real client, real sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from flowrunner import SystemClock
from flowrunner.graph.build import Graph
from flowrunner.graph.load import load_flows
from flowrunner.runtime.ledger import Ledger
from flowrunner.testing import run_virtual
from tests.runtime.flows import START, Feed, Running, record, registered, running
from tests.servers.fake_influx import TOKEN, FakeInflux, Hang, Reply, Reset
from tests.servers.influxd import Influxd

FLOW = """
version: 1
flow: climate
delivery: memory
connections:
  tsdb: {{ type: influxdb, url: "{url}", org: home, token: "${{TOKEN:-{token}}}", timeout: {timeout} }}
nodes:
  sensors: {{ type: feed }}
  store:
    type: influxdb_out
    from: sensors
    connection: tsdb
    bucket: home
    measurement: climate
    tags: {{ sensor: =topic }}
    fields: {{ value: =payload }}
"""
MINUTE, HOUR = 60.0, 3600.0


def _graph(folder: Path, url: str, timeout: str = "10s") -> Graph:
    file = folder / "climate.yaml"
    file.write_text(FLOW.format(url=url, token=TOKEN, timeout=timeout))
    with registered(feed=Feed):
        return load_flows([file], environment={}, strict_environment=True).graphs["climate"]


def _line(number: int) -> str:
    return f"climate,sensor=kitchen value={number} {START + number * 1_000_000_000}"


class Outage:
    """One flow, one server and one reading a second; ``asked`` are the times of the requests."""

    def __init__(self, flow: Running, server: FakeInflux) -> None:
        self.flow = flow
        self.server = server
        self.fed = 0
        self.asked: list[float] = []

    async def feed(self, seconds: float, every: float = 1.0) -> None:
        for _ in range(round(seconds / every)):
            self.flow.feed("sensors", record(self.fed, "kitchen", at=float(self.fed)))
            self.fed += 1
            await asyncio.sleep(every)
            self._look()

    async def recovered(self, within: float) -> float:
        """Go on feeding until nothing waits for longer than a batch does; return the seconds that took."""
        started = asyncio.get_running_loop().time()
        while self.books.held > 3:
            await self.feed(1)
            took = asyncio.get_running_loop().time() - started
            assert took <= within, self.context.reason
        await asyncio.sleep(3)
        return asyncio.get_running_loop().time() - started - 3

    def most_requests(self, seconds: float) -> int:
        """Return the most requests in any span of so many seconds."""
        return max(sum(start <= time < start + seconds for time in self.asked) for start in self.asked)

    @property
    def books(self) -> Ledger:
        return self.flow.runner.ledger

    @property
    def context(self) -> Any:
        return self.flow.runner.assembly.contexts["store"]

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        self.asked += [now] * (len(self.server.writes) - len(self.asked))


def outage(folder: Path, scenario: Callable[[Outage], Awaitable[None]]) -> None:
    """Run a scenario in virtual time; at its end all that was fed is stored, each point once, and the books balance."""

    async def run() -> None:
        async with FakeInflux() as server, running(_graph(folder, server.url)) as flow:
            happening = Outage(flow, server)
            await happening.feed(5)
            await scenario(happening)
            points = {tuple(line.rsplit(" ", 1)): line for line in server.stored}
            failed = happening.books.dead_lettered
            assert happening.fed == len(points) + failed, "points that are lost, or that have another time"
            assert set(server.stored) <= {_line(number) for number in range(happening.fed)}
            assert (happening.fed - failed, 0, 0) == (
                happening.books.written,
                happening.books.held,
                happening.books.balance,
            )
            assert "running" == happening.context.status

    run_virtual(run())


FAULTS = [
    pytest.param(Reply(503), "InfluxDB answered 503", 35, id="503"),
    pytest.param(Reply(429), "InfluxDB answered 429", 35, id="429"),
    pytest.param(Reply(500, "x" * 100_000), "InfluxDB answered 500: xxx", 35, id="500 with a large body"),
    pytest.param(Hang(), "did not answer within 10s", 35, id="black hole"),
    pytest.param(Reply(503, "x" * 600, seconds_a_byte=1.0), "", 35, id="an answer of 1 byte/s"),
    pytest.param(Reset(), "", 35, id="reset in place of an answer"),
    pytest.param(Reset(after_commit=True), "", 35, id="reset after the commit"),
    pytest.param(
        Reply(401, '{"message":"unauthorized"}'), "check the `token`", 26, id="401, then right again"
    ),
    pytest.param(Reply(403), "the right to write", 26, id="403"),
    pytest.param(Reply(404, '{"message":"bucket not found"}'), "create the bucket", 26, id="no bucket"),
    pytest.param(Reply(307, "", {"Location": "http://elsewhere"}), "elsewhere", 26, id="a redirect"),
]


@pytest.mark.parametrize(("fault", "says", "most"), FAULTS)
def test_an_hour_of_a_fault_loses_nothing_and_is_over_a_minute_after_it(
    tmp_path: Path, fault: Any, says: str, most: int
) -> None:
    async def scenario(happening: Outage) -> None:
        happening.server.always = fault
        await happening.feed(HOUR)

        assert happening.context.status in ("degraded", "failed")
        assert says in happening.context.reason
        assert happening.books.balance == 0
        assert happening.most_requests(10 * MINUTE) <= most
        assert 30 <= happening.context.counters.retries <= len(happening.asked)

        happening.server.always = None
        took = await happening.recovered(within=70.0)
        assert took <= 61.0

    outage(tmp_path, scenario)


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(START / 1e9 + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        pytest.param({"Retry-After": "120"}, 120, 180, id="seconds"),
        pytest.param(
            {"Retry-After": _date(130), "Date": _date(10)}, 120, 180, id="a date, by the server's clock"
        ),
        pytest.param({"Retry-After": "86400"}, 600, 660, id="a day is ten minutes at the most"),
        pytest.param({"Retry-After": "-1"}, 0, 61, id="negative"),
        pytest.param({"Retry-After": "soon"}, 0, 61, id="garbage"),
    ],
)
def test_a_server_that_says_when_to_come_again_is_asked_then(
    tmp_path: Path, headers: dict[str, str], least: float, most: float
) -> None:
    async def scenario(happening: Outage) -> None:
        happening.server.always, before = Reply(503, "", headers), len(happening.asked)
        await happening.feed(HOUR)
        pauses = [after - before for before, after in itertools.pairwise(happening.asked[before:])]
        assert len(pauses) >= 5
        assert least <= min(pauses)
        assert max(pauses) <= most

        happening.server.always = None
        await happening.recovered(within=most + 5)

    outage(tmp_path, scenario)


@pytest.mark.parametrize("bad", [(7,), (0, 1, 2, 3), (100, 3000, 3599)], ids=str)
@pytest.mark.parametrize("partial", [True, False], ids=["422, partial", "400, all refused"])
def test_bad_points_in_the_backlog_of_an_hour_are_found_one_by_one(
    tmp_path: Path, bad: tuple[int, ...], partial: bool
) -> None:
    lines = {_line(number + 5) for number in bad}

    def judge(line: str) -> str | None:
        return f"field type conflict at {line}" if line in lines else None

    async def scenario(happening: Outage) -> None:
        happening.server.always = Reply(503)
        await happening.feed(HOUR)
        if partial:
            happening.server.refused = judge
        else:
            happening.server.malformed = judge
        happening.server.always, before = None, len(happening.server.writes)
        await happening.recovered(within=70.0)

        assert len(bad) == happening.books.dead_lettered
        await happening.flow.runner.checkpointer.take()
        letters = [kept.letter for kept in await happening.flow.runner.store.read_dead_letters()]
        said = [(letter.payload, letter.reason) for letter in letters]
        assert sorted(number + 5 for number in bad) == sorted(payload for payload, _ in said)
        assert all("field type conflict at climate,sensor=kitchen" in reason for _, reason in said)
        assert len(happening.server.writes) - before <= 2 * len(bad) * 12 + 70

    outage(tmp_path, scenario)


def test_a_limit_on_the_size_of_requests_splits_the_backlog(tmp_path: Path) -> None:
    async def scenario(happening: Outage) -> None:
        happening.server.always = Reply(503)
        await happening.feed(HOUR)
        happening.server.always, happening.server.max_body = None, 16_384
        before = len(happening.server.writes)
        await happening.recovered(within=70.0)

        assert (
            len(happening.server.writes) - before >= 2 * len("\n".join(happening.server.stored)) // 16_384 - 1
        )

    outage(tmp_path, scenario)


def test_connections_that_are_cut_again_and_again_after_the_commit_leave_no_other_points(
    tmp_path: Path,
) -> None:
    async def scenario(happening: Outage) -> None:
        for _ in range(20):
            happening.server.script += [Reset(after_commit=True), Reset(), None]
            await happening.feed(MINUTE)
        happening.server.script.clear()
        await happening.recovered(within=70.0)

        assert len(happening.server.stored) > happening.fed

    outage(tmp_path, scenario)


def test_a_bucket_that_was_missing_for_an_hour_gets_everything_when_it_is_created(tmp_path: Path) -> None:
    async def scenario(happening: Outage) -> None:
        happening.server.buckets.clear()
        await happening.feed(HOUR)
        happening.server.buckets.add("home")
        await happening.recovered(within=70.0)

    outage(tmp_path, scenario)


def test_a_token_that_the_server_did_not_know_for_an_hour_is_accepted_when_it_does(tmp_path: Path) -> None:
    async def scenario(happening: Outage) -> None:
        token, happening.server.token = happening.server.token, "another"
        await happening.feed(HOUR)
        happening.server.token = token
        await happening.recovered(within=70.0)

    outage(tmp_path, scenario)


@pytest.mark.server
async def test_a_real_server_that_stands_still_and_goes_on_has_every_point_once(tmp_path: Path) -> None:
    async with Influxd(tmp_path) as server:
        await server.create("home")
        graph = _graph(tmp_path, server.url, timeout="500ms")
        async with running(graph, clock=SystemClock()) as flow:
            for first in range(0, 600, 100):
                if first == 200:
                    server.freeze()
                await flow.feed(
                    "sensors", *[record(n, "kitchen", at=float(n)) for n in range(first, first + 100)]
                )
                await asyncio.sleep(0.6)
            context = flow.runner.assembly.contexts["store"]
            assert context.counters.retries > 0
            assert 400 <= flow.runner.ledger.held
            server.thaw()
            async with asyncio.timeout(30):
                while flow.runner.ledger.held:
                    await asyncio.sleep(0.05)
        rows = await server.read("home", "climate")

    assert [str(number) for number in range(600)] == [row["value"] for row in rows]
    assert [str(START + number * 10**9) for number in range(600)] == [row["time"] for row in rows]
