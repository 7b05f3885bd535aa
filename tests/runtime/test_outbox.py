"""The outbox of a sink: nothing lost, in order, and books that balance, whatever happens in between."""

from __future__ import annotations

import asyncio
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowrunner import Context, Message, NodeOptions, RetryLater, Transform, node_type
from flowrunner.graph.build import Graph
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.outbox.task import OutboxTask
from flowrunner.runtime.sinks import SinkTask
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, Keep, Running, record, running

Config = NodeOptions
OUTBOX = {"max_bytes": "1MiB"}
DOWN = [RetryLater("503")] * 100_000


def graph(**options: Any) -> Graph:
    """A source with two sinks: ``up``, and ``down`` with an outbox."""
    builder = FlowBuilder(delivery="journal").source("a").sink("up", "a")
    return builder.sink("down", "a", **{"outbox": OUTBOX} | options).graph()


def outbox(flow: Running | FlowRunner) -> OutboxTask:
    runner = flow.runner if isinstance(flow, Running) else flow
    task = runner.assembly.sinks["down"]
    assert isinstance(task, OutboxTask)
    return task


def counters(flow: Running) -> Any:
    return flow.runner.assembly.contexts["down"].counters


def test_a_sink_that_is_down_does_not_hold_back_its_siblings_nor_the_checkpoints(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(graph(), state_dir=tmp_path, checkpoint_every=1.0) as flow:
            flow.sink("down").refuse = list(DOWN)
            for first in range(0, 10_000, 1000):
                await flow.feed("a", *[record(n) for n in range(first, first + 1000)])
                await asyncio.sleep(1)

            assert list(range(10_000)) == flow.payloads("up")
            assert (10_000, 10_000, 0) == (
                counters(flow).received,
                counters(flow).held,
                counters(flow).written,
            )
            assert (10_000, 0) == (flow.runner.ledger.held, flow.runner.ledger.balance)
            assert flow.runner.checkpointer.age < 3
            assert 10_000 == outbox(flow).outbox.messages

            flow.sink("down").refuse = []
            await asyncio.sleep(120)
            assert list(range(10_000)) == flow.payloads("down")
            assert (0, 0, 0) == (
                flow.runner.ledger.held,
                outbox(flow).outbox.messages,
                flow.runner.ledger.balance,
            )

    run_virtual(scenario())


class Installation:
    """One flow over its runs; ``written`` is everything that ``down`` has accepted, in order."""

    def __init__(self, folder: Path, checkpoint_every: float = 1.0) -> None:
        self.settings = FlowSettings(state_dir=folder, checkpoint_every=checkpoint_every)
        self.written: list[Any] = []
        self.runner: FlowRunner | None = None
        self.up = True
        self._task: asyncio.Task[None] | None = None
        self._storage: Storage | None = None

    async def start(self, graph: Graph) -> FlowRunner:
        clock = VirtualClock(START)
        self._storage = Storage("flow", "journal", self.settings, clock)
        await self._storage.open()
        self.runner = runner = FlowRunner(graph, self._storage, self.settings, clock, RecordingLog())
        self._task = asyncio.create_task(runner.run())
        await runner.ready.wait()
        task = runner.assembly.sinks.get("down")
        if task is not None:
            task.node.write = partial(self._write, task.node.context)  # type: ignore[method-assign]
        return runner

    async def _write(self, context: Context, batch: Any) -> None:
        if not self.up:
            raise RetryLater("503")
        for message in batch:
            if message.payload == "bad":
                context.fail(message, "bad")
            else:
                self.written.append(message.payload)

    async def feed(self, *payloads: Any) -> None:
        assert self.runner is not None
        await self.runner.assembly.sources["a"].context.post([record(payload) for payload in payloads])

    async def end(self, drain: float | None = 5.0) -> None:
        """Stop the flow; without ``drain`` as a crash does, that commits nothing any more."""
        assert self.runner is not None
        assert self._task is not None
        assert self._storage is not None
        if drain is None:
            self._task.cancel()
        else:
            self.runner.stop(drain)
        await asyncio.wait({self._task})
        await self._storage.close()

    def books(self) -> tuple[int, int]:
        """Return what is held and what is not accounted for."""
        assert self.runner is not None
        for name in self.runner.assembly.sinks:
            assert self.runner.assembly.contexts[name].counters.balance() == 0
        return self.runner.ledger.held, self.runner.ledger.balance


@pytest.mark.parametrize("crash", [True, False], ids=["crash", "stop"])
def test_what_is_in_the_outbox_is_written_after_a_restart_each_once_and_in_order(
    tmp_path: Path, crash: bool
) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        flow.up = False
        for first in (0, 100, 200):
            await flow.start(graph())
            await flow.feed(*range(first, first + 50))
            await asyncio.sleep(3.5)
            await flow.feed(*range(first + 50, first + 100))
            await asyncio.sleep(0.2)
            await flow.end(None if crash else 5.0)
        flow.up = True
        runner = await flow.start(graph())
        await flow.feed(300)
        await asyncio.sleep(120)

        assert list(range(301)) == flow.written
        assert (0, 0) == flow.books()
        assert (301, 602) == (runner.ledger.received, runner.ledger.written)
        assert 0 == outbox(runner).outbox.messages
        await flow.end()

    run_virtual(scenario())


def test_what_was_written_since_the_last_checkpoint_is_written_again_after_a_crash(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path, checkpoint_every=10.0)
        await flow.start(graph())
        await flow.feed(*range(10))
        await asyncio.sleep(11)
        await flow.feed(*range(10, 20))
        await asyncio.sleep(1)
        await flow.end(None)
        assert list(range(20)) == flow.written

        runner = await flow.start(graph())
        await asyncio.sleep(1)

        assert [*range(20), *range(10, 20)] == flow.written
        assert (20, 40, 0) == (runner.ledger.received, runner.ledger.written, runner.ledger.balance)
        await flow.end()

    run_virtual(scenario())


def test_what_a_quiet_flow_has_written_is_not_written_again_after_a_crash(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        flow.up = False
        await flow.start(graph())
        await flow.feed(*range(10), "bad")
        await asyncio.sleep(3)
        flow.up = True
        await asyncio.sleep(120)
        await flow.end(None)
        runner = await flow.start(graph())
        await asyncio.sleep(3)

        assert list(range(10)) == flow.written
        assert (1, 1) == (runner.ledger.dead_lettered, runner.store.letters.count)
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


class Random(Installation):
    """Does what a list of numbers says."""

    async def play(self, steps: list[int], graph: Graph) -> int:
        fed = 0
        await self.start(graph)
        for step in steps:
            match step % 7:
                case 0:
                    await self.end(None)
                    await self.start(graph)
                case 1:
                    await self.end(5.0)
                    await self.start(graph)
                case 2:
                    self.up = not self.up
                case 3:
                    await asyncio.sleep(step / 10)
                case _:
                    await self.feed(*range(fed, fed + step))
                    fed += step
                    await asyncio.sleep(0.001 * (step % 3))
            assert self.books()[1] == 0
        return fed


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, 60), min_size=5, max_size=25))
def test_whatever_happens_nothing_is_lost_and_the_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    async def scenario() -> None:
        flow = Random(tmp_path_factory.mktemp("flow"))
        fed = await flow.play(steps, graph())
        flow.up = True
        await asyncio.sleep(200)

        assert list(range(fed)) == list(dict.fromkeys(flow.written)), flow.written
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def bulky(first: int, count: int) -> list[Any]:
    return [[number, random.Random(number).randbytes(1500).hex()] for number in range(first, first + count)]


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_a_full_outbox_drops_and_counts_and_its_siblings_miss_nothing(tmp_path: Path, when_full: str) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        flow.up = False
        made = graph(buffer={"when_full": when_full})
        runner = await flow.start(made)
        for first in range(0, 1500, 100):
            await flow.feed(*bulky(first, 100))
            await asyncio.sleep(0.5)
        dropped = runner.assembly.contexts["down"].counters.dropped
        assert ["outbox_full"] == list(dropped)
        assert 1500 == dropped["outbox_full"] + runner.ledger.held
        assert outbox(runner).outbox.disk_bytes <= 2**20 * 9 // 8
        sibling = runner.assembly.sinks["up"].node
        assert isinstance(sibling, Keep)
        assert 1500 == len(sibling.kept)

        flow.up = True
        await asyncio.sleep(120)
        numbers = [number for number, _ in flow.written]
        assert 1500 == dropped["outbox_full"] + len(numbers)
        assert sorted(numbers) == numbers
        assert (0 in numbers, 1499 in numbers) == (
            (True, False) if when_full == "drop_newest" else (True, True)
        )
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_the_books_of_an_outbox_that_drops_balance_after_a_crash(tmp_path: Path, when_full: str) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        flow.up = False
        made = graph(buffer={"when_full": when_full})
        for first in range(0, 1200, 300):
            await flow.start(made)
            for part in range(first, first + 300, 50):
                await flow.feed(*bulky(part, 50))
                await asyncio.sleep(0.4)
            assert 0 == flow.books()[1]
            await flow.end(None)
        flow.up = True
        runner = await flow.start(made)
        await asyncio.sleep(120)

        counters = runner.assembly.contexts["down"].counters
        assert (0, 0) == flow.books()
        assert (1200, {"outbox_full"}) == (counters.received, set(counters.dropped))
        assert 1200 == counters.dropped["outbox_full"] + counters.written
        numbers = [number for number, _ in flow.written]
        assert sorted(numbers) == numbers
        await flow.end()

    run_virtual(scenario())


def test_a_full_outbox_that_blocks_stops_the_flow_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        flow.up = False
        runner = await flow.start(graph())
        for first in range(0, 2500, 100):
            await flow.feed(*bulky(first, 100))
            await asyncio.sleep(0.2)
        sibling = runner.assembly.sinks["up"].node
        assert isinstance(sibling, Keep)
        assert len(sibling.kept) < 2500
        assert {} == runner.assembly.contexts["down"].counters.dropped
        assert (2500, 0) == (runner.ledger.received, runner.ledger.balance)

        flow.up = True
        await asyncio.sleep(200)
        assert list(range(2500)) == [number for number, _ in flow.written]
        assert 2500 == len(sibling.kept)
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def test_an_outbox_smaller_than_what_comes_between_two_checkpoints_is_no_brake(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path, checkpoint_every=3600.0)
        await flow.start(graph())
        started = asyncio.get_running_loop().time()
        for first in range(0, 1200, 100):
            await flow.feed(*bulky(first, 100))
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)

        assert list(range(1200)) == [number for number, _ in flow.written]
        assert asyncio.get_running_loop().time() - started < 30
        assert outbox_bytes(flow) <= 2**20 * 9 // 8
        await flow.end(None)

        runner = await flow.start(graph())
        await asyncio.sleep(10)
        assert (0, 0) == flow.books()
        assert 1200 == runner.assembly.contexts["down"].counters.written
        await flow.end()

    run_virtual(scenario())


def outbox_bytes(flow: Installation) -> int:
    assert flow.runner is not None
    return outbox(flow.runner).outbox.disk_bytes


def test_a_message_that_fails_is_dead_lettered_once_though_the_flow_crashes(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path, checkpoint_every=5.0)
        for payloads in ([1, "bad", 2], ["bad"], []):
            await flow.start(graph())
            await flow.feed(*payloads)
            await asyncio.sleep(1)
            assert 0 == flow.books()[1]
            await flow.end(None)
        runner = await flow.start(graph())
        await asyncio.sleep(12)

        assert (2, 2) == (runner.ledger.dead_lettered, runner.store.letters.count)
        assert [1, 2] == flow.written[-2:]
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


async def _fill(flow: Installation, made: Graph, count: int = 20) -> None:
    """Leave ``count`` messages in the outbox."""
    flow.up = False
    await flow.start(made)
    await flow.feed(*range(count))
    await asyncio.sleep(2.5)
    await flow.end()
    flow.up = True


def test_a_sink_with_other_options_writes_what_the_outbox_holds(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        await _fill(flow, graph())
        await flow.start(graph(description="another", outbox={"max_bytes": "2MiB"}))
        await asyncio.sleep(60)

        assert list(range(20)) == flow.written
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "without",
    [
        FlowBuilder(delivery="journal").source("a").sink("up", "a").graph(),
        FlowBuilder(delivery="journal").source("a").sink("up", "a").sink("down", "a").graph(),
    ],
    ids=["the sink is removed", "the option is removed"],
)
def test_what_a_removed_outbox_holds_is_counted_and_comes_back_with_it(
    tmp_path: Path, without: Graph
) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        await _fill(flow, graph())
        runner = await flow.start(without)
        await asyncio.sleep(2.5)
        assert {"reload": 20} == runner.ledger.dropped
        assert (0, 0) == flow.books()
        assert [] == flow.written
        await flow.end()

        runner = await flow.start(graph())
        await asyncio.sleep(60)
        assert list(range(20)) == flow.written
        assert {"reload": 20} == runner.ledger.dropped
        assert (0, 0) == flow.books()
        await flow.end()

        await flow.start(without)
        await asyncio.sleep(2.5)
        await flow.end()
        await flow.start(graph())
        await asyncio.sleep(60)
        assert list(range(20)) == flow.written
        await flow.end()

    run_virtual(scenario())


OTHER = {"another option": graph(on_error="drop"), "another size": graph(outbox={"max_bytes": "2MiB"})}


@pytest.mark.parametrize("after", OTHER.values(), ids=OTHER)
@pytest.mark.parametrize("size", [10, 4000], ids=["with room", "full"])
def test_a_reload_while_the_flow_runs_keeps_what_the_outbox_holds(
    tmp_path: Path, after: Graph, size: int
) -> None:
    payloads = [[number, random.Random(number).randbytes(size // 2).hex()] for number in range(600)]

    async def scenario() -> None:
        flow = Installation(tmp_path, checkpoint_every=3.0)
        flow.up = False
        runner = await flow.start(graph())
        for first in range(0, 600, 50):
            await flow.feed(*payloads[first : first + 50])
            await asyncio.sleep(0.3)
        await runner.replace(after)
        while not isinstance(task := runner.assembly.sinks["down"], OutboxTask) or task.pending == []:
            await asyncio.sleep(0.5)
        flow.up = True
        task.node.write = partial(flow._write, task.node.context)  # type: ignore[method-assign]
        node = task.node
        assert isinstance(node, Keep)
        await asyncio.sleep(150)

        numbers = [payload[0] for payload in flow.written] or [message.payload[0] for message in node.kept]
        assert list(range(600)) == list(dict.fromkeys([m.payload[0] for m in node.kept] + numbers))
        assert {} == runner.ledger.dropped
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def test_an_outbox_that_is_removed_while_the_flow_runs_comes_back_whole(tmp_path: Path) -> None:
    without = FlowBuilder(delivery="journal").source("a").sink("up", "a").graph()

    async def scenario() -> None:
        flow = Installation(tmp_path, checkpoint_every=3600.0)
        flow.up = False
        runner = await flow.start(graph())
        await flow.feed(*range(20))
        await asyncio.sleep(1)
        await runner.replace(without)
        await asyncio.sleep(60)
        assert {"reload": 20} == runner.ledger.dropped
        assert (0, 0) == flow.books()

        await runner.replace(graph())
        await asyncio.sleep(60)
        node = runner.assembly.sinks["down"].node
        assert isinstance(node, Keep)
        assert list(range(20)) == [message.payload for message in node.kept]
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def test_messages_are_the_same_when_they_come_out(tmp_path: Path) -> None:
    payloads = [None, True, 2**63 + 5, -(2**63), 1.5, "ä\n", [1, [2]], {"a": {"b": [None]}}, {}]

    async def scenario() -> None:
        async with running(graph(), state_dir=tmp_path) as flow:
            await flow.feed(
                "a", *[record(payload, topic="tö", at=index) for index, payload in enumerate(payloads)]
            )
            await asyncio.sleep(2)

            assert flow.sink("up").kept == flow.sink("down").kept
            assert payloads == flow.payloads("down")

    run_virtual(scenario())


@node_type("odd")
class Odd(Transform[NodeOptions]):
    """Makes payloads that no journal can hold, and one that is too large."""

    def on_message(self, message: Message) -> list[Message]:
        payloads = {1: 2**70, 2: "\ud800", 3: object(), 4: "x" * 2**19}
        return [message.replace(payload=payloads.get(message.payload, message.payload))]


def test_a_message_that_the_outbox_cannot_hold_fails_alone(tmp_path: Path) -> None:
    made = (
        FlowBuilder(delivery="journal")
        .source("a")
        .node("odd", Odd, "a")
        .sink("down", "odd", outbox=OUTBOX)
        .sink("failed", "down.errors")
        .graph()
    )

    async def scenario() -> None:
        async with running(made, state_dir=tmp_path, checkpoint_every=1.0) as flow:
            await flow.feed("a", *[record(number) for number in range(6)])
            await asyncio.sleep(2)

            assert [0, 5] == flow.payloads("down")
            reasons = [message.meta["error"] for message in flow.sink("failed").kept]
            limit = "more than a quarter of the outbox (1048576 bytes)"
            for reason, said in zip(
                reasons, ["serialize ints", "surrogates", "type object", limit], strict=True
            ):
                assert said in str(reason)
            assert (0, 0) == (flow.runner.ledger.held, flow.runner.ledger.balance)

    run_virtual(scenario())


def test_what_a_broken_file_cost_is_counted_and_the_rest_is_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        flow.up = False
        await flow.start(graph())
        for first in range(0, 200, 10):
            await flow.feed(*bulky(first, 10))
            await asyncio.sleep(0.5)
        await flow.end()
        files = sorted((tmp_path / "flows" / "flow" / "outbox" / "down").glob("journal-*.db"))
        assert len(files) > 2
        files[1].write_bytes(b"x" * 5000)

        flow.up = True
        runner = await flow.start(graph())
        await asyncio.sleep(60)
        counters = runner.assembly.contexts["down"].counters
        numbers = [number for number, _ in flow.written]
        assert 0 < counters.dropped["outbox_damaged"] < 200
        assert 200 == counters.dropped["outbox_damaged"] + len(numbers)
        assert (0, 199) == (numbers[0], numbers[-1])
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def test_a_directory_that_is_gone_is_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        await _fill(flow, graph())
        shutil.rmtree(tmp_path / "flows" / "flow" / "outbox")
        runner = await flow.start(graph())
        await flow.feed("new")
        await asyncio.sleep(5)

        assert ["new"] == flow.written
        assert {"outbox_damaged": 20} == runner.ledger.dropped
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def test_without_any_checkpoint_what_the_outbox_holds_is_written_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = Installation(tmp_path)
        await _fill(flow, graph())
        for file in (tmp_path / "flows" / "flow").glob("state.db*"):
            file.unlink()
        shutil.rmtree(tmp_path / "flows" / "flow" / "journal")
        await flow.start(graph())
        await asyncio.sleep(60)

        assert list(range(20)) == flow.written
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


def test_an_outbox_that_cannot_be_opened_or_written_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "flows" / "flow" / "outbox"

    async def scenario() -> None:
        flow = Installation(tmp_path)
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        runner = await flow.start(graph())
        await flow.feed(1)
        await asyncio.sleep(1)
        context = runner.assembly.contexts["down"]
        assert "failed" == context.status
        assert "the outbox cannot be opened" in str(context.reason)
        folder.unlink()
        await asyncio.sleep(120)
        assert ([1], "running") == (flow.written, context.status)

        journal = outbox(runner).outbox._journal
        working, outbox(runner).outbox._journal = journal, Broken()  # type: ignore[assignment]
        await flow.feed(2)
        await asyncio.sleep(1)
        assert ("degraded", "the outbox cannot be used: [Errno 5] dead") == (context.status, context.reason)
        outbox(runner).outbox._journal = working
        await asyncio.sleep(20)
        assert ([1, 2], "running") == (flow.written, context.status)
        assert (0, 0) == flow.books()
        await flow.end()

    run_virtual(scenario())


class Broken:
    """A journal on a disk that has died."""

    def append(self, *_: Any) -> None:
        raise OSError(5, "dead")

    async def read(self, *_: Any) -> None:
        raise OSError(5, "dead")


def test_a_flow_in_memory_has_no_outbox() -> None:
    made = FlowBuilder().source("a").sink("down", "a", outbox=OUTBOX).graph()

    async def scenario() -> None:
        async with running(made) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(1)

            assert SinkTask is type(flow.runner.assembly.sinks["down"])
            assert [1] == flow.payloads("down")

    run_virtual(scenario())
