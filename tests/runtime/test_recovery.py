"""After a crash a flow goes on from its last checkpoint, and its books still balance."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner import NANOSECONDS, Message, NodeOptions, Transform, node_type
from flowrunner.runtime import careful
from flowrunner.runtime.checkpoints.store import DiskStore
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.runtime.supervisor import Flow
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, Keep, record, running
from tests.runtime.test_flow import Even, Later
from tests.runtime.test_stage import FaultyTimer

Config = NodeOptions


@node_type("count")
class Count(Transform[NodeOptions]):
    """Numbers the messages; crashes the stage on the payload -1."""

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.count = 0

    def on_batch(self, batch: Any) -> list[Message]:
        out = []
        for message in batch:
            if message.payload == -1:
                raise ZeroDivisionError("a bug")
            self.count += 1
            out.append(message.replace(payload=[message.payload, self.count]))
        return out

    def snapshot(self) -> Any:
        return self.count

    def restore(self, state: Any) -> None:
        self.count = state


async def _abandon(runner: FlowRunner, task: asyncio.Task[None]) -> None:
    """End a flow as kill -9 would: nothing is drained, nothing committed."""
    task.cancel()
    await asyncio.wait({task})


async def _start(
    graph: Any, storage: Storage, settings: FlowSettings
) -> tuple[FlowRunner, asyncio.Task[None]]:
    runner = FlowRunner(graph, storage, settings, VirtualClock(START), RecordingLog())
    task = asyncio.create_task(runner.run())
    await runner.ready.wait()
    return runner, task


def test_a_flow_goes_on_from_its_checkpoint_with_state_and_books(tmp_path: Path) -> None:
    graph = FlowBuilder(delivery="journal").source("a").node("count", Count, "a").sink("b", "count").graph()
    settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1.0)

    async def scenario() -> None:
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        runner, task = await _start(graph, storage, settings)
        source = runner.assembly.sources["a"].context
        await source.post([record(0), record(1)])
        await asyncio.sleep(2.5)
        await source.post([record(2), record(3)])
        await asyncio.sleep(0.1)
        await _abandon(runner, task)
        await storage.close()

        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(0.5)
            await flow.feed("a", record(4))
            await asyncio.sleep(0.5)

            assert [[2, 3], [3, 4], [4, 5]] == flow.payloads("b")
            books = flow.runner.ledger
            assert (5, 5, 0) == (books.received, books.written, books.balance)
        await storage.close()

    run_virtual(scenario())


def test_timers_and_what_a_node_holds_survive(tmp_path: Path) -> None:
    graph = FlowBuilder(delivery="journal").source("a").node("later", Later, "a").sink("b", "later").graph()
    settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1.0)

    async def scenario() -> None:
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        runner, task = await _start(graph, storage, settings)
        await runner.assembly.sources["a"].context.post([record("x")])
        await asyncio.sleep(3)
        await _abandon(runner, task)
        async with running(graph, storage=storage) as flow:
            assert flow.runner.ledger.held == 1
            await asyncio.sleep(6)
            assert [] == flow.payloads("b")
            await asyncio.sleep(2)

            assert [("x", START + 10 * 10**9)] == [(m.payload, m.time) for m in flow.sink("b").kept]
        await storage.close()

    run_virtual(scenario())


def test_a_node_that_changed_loses_its_state_and_what_it_held_is_counted(tmp_path: Path) -> None:
    before = FlowBuilder(delivery="journal").source("a").node("later", Later, "a").sink("b", "later").graph()
    after = FlowBuilder(delivery="journal").source("a").node("later", Even, "a").sink("b", "later").graph()
    settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1.0)

    async def scenario() -> None:
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        async with running(before, storage=storage) as flow:
            await flow.feed("a", record("x"))
            await asyncio.sleep(0.5)
        async with running(after, storage=storage) as flow:
            assert {"reload": 1} == flow.runner.ledger.dropped
            assert flow.runner.ledger.balance == 0
        await storage.close()

    run_virtual(scenario())


def test_a_state_that_does_not_depend_on_what_changed_while_the_flow_was_down_is_taken_up(
    tmp_path: Path,
) -> None:
    graphs = [
        FlowBuilder(delivery="journal").source("a").node("later", Later, "a").sink("b", "later").graph()
        for _ in range(2)
    ]
    graphs[1].definitions["later"] = "another wire, or an option of no importance"
    settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1.0)

    async def scenario() -> None:
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        async with running(graphs[0], storage=storage) as flow:
            await flow.feed("a", record("x"))
            await asyncio.sleep(0.5)
        async with running(graphs[1], storage=storage) as flow:
            assert ({}, 1) == (flow.runner.ledger.dropped, flow.runner.ledger.held)
            await asyncio.sleep(15)
            assert ["x"] == flow.payloads("b")
        await storage.close()

    run_virtual(scenario())


def test_records_of_a_source_that_is_gone_are_counted(tmp_path: Path) -> None:
    before = FlowBuilder(delivery="journal").source("a").source("c").sink("b", "a", "c").graph()
    after = FlowBuilder(delivery="journal").source("a").sink("b", "a").graph()
    settings = FlowSettings(state_dir=tmp_path, checkpoint_every=100.0)

    async def scenario() -> None:
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        runner, task = await _start(before, storage, settings)
        await runner.assembly.sources["c"].context.post([record(1), record(2)])
        await _abandon(runner, task)
        async with running(after, storage=storage) as flow:
            await flow.feed("a", record(3))
            await asyncio.sleep(0.5)

            assert {"source_removed": 2} == flow.runner.ledger.dropped
            assert (3, 0) == (flow.runner.ledger.received, flow.runner.ledger.balance)
        await storage.close()

    run_virtual(scenario())


def test_a_record_that_crashes_a_node_is_found_and_dead_lettered(tmp_path: Path) -> None:
    graph = FlowBuilder(delivery="journal").source("a").node("count", Count, "a").sink("b", "count").graph()

    async def scenario() -> None:
        clock, log = VirtualClock(START), RecordingLog()
        flow = Flow(graph, FlowSettings(state_dir=tmp_path, checkpoint_every=1.0), clock, log)
        task = asyncio.create_task(flow.run())
        await asyncio.sleep(0.5)
        first = flow.runner.assembly.sinks["b"].node
        assert isinstance(first, Keep)
        await flow.runner.assembly.sources["a"].context.post([record(n) for n in (1, 2, -1, 3, 4)])
        await asyncio.sleep(5)

        sink = flow.runner.assembly.sinks["b"].node
        assert isinstance(sink, Keep)
        assert [[1, 1], [2, 2], [3, 3], [4, 4]] == [message.payload for message in sink.kept]
        books = flow.runner.ledger
        assert (5, 4, 1, 0) == (books.received, books.written, books.dead_lettered, books.balance)
        assert "running" == flow.status
        flow.stop(1.0)
        await task

    run_virtual(scenario())


def test_one_failing_flow_does_not_disturb_another(tmp_path: Path) -> None:
    crashing = FlowBuilder("bad").source("a").node("later", Later, "a").sink("b", "later").graph()
    healthy = FlowBuilder("good").source("a").sink("b", "a").graph()

    async def scenario() -> None:
        settings, log = FlowSettings(state_dir=tmp_path), RecordingLog()
        flows = [Flow(graph, settings, VirtualClock(START), log) for graph in (crashing, healthy)]
        tasks = [asyncio.create_task(flow.run()) for flow in flows]
        await asyncio.sleep(0.5)
        node: Any = flows[0].runner.assembly.steps["later"].node
        node.waiting = None
        await flows[0].runner.assembly.sources["a"].context.post([record(1)])
        await flows[1].runner.assembly.sources["a"].context.post([record(1)])
        await asyncio.sleep(15)

        good: Any = flows[1].runner.assembly.sinks["b"].node
        assert 1 == len(good.kept)
        assert 0 == flows[1].restarts
        for flow in flows:
            flow.stop(1.0)
        await asyncio.gather(*tasks)

    run_virtual(scenario())


@node_type("stubborn")
class Stubborn(Later):
    """Holds messages as ``later`` does; cannot read a state once it has half of it."""

    def restore(self, state: Any) -> None:
        super().restore(state)
        self.context.timers.set("rubbish", 1, now=0)
        raise KeyError("carried")


@node_type("new_version")
class NewVersion(Later):
    """A version of ``later`` that cannot read older states."""

    state_version = 2


@node_type("old_version")
class OldVersion(Later):
    """The version before the present one."""

    state_version = 0


REFUSALS = {
    "restore raises": (Later, Stubborn, "KeyError: 'carried'"),
    "an older version": (Later, NewVersion, "ValueError: a state of version 1 cannot be read, only of 2"),
    "a newer version": (
        Later,
        OldVersion,
        "ValueError: it is of version 1, and this node type reads up to 0",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_node_that_refuses_its_state_begins_without_and_what_it_held_is_counted(
    tmp_path: Path, name: str
) -> None:
    before, after, reason = REFUSALS[name]
    graphs = [
        FlowBuilder(delivery="journal").source("a").node("later", cls, "a").sink("b", "later").graph()
        for cls in (before, after)
    ]
    graphs[1].definitions.update(graphs[0].definitions)
    settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1.0)

    async def scenario() -> None:
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        runner, task = await _start(graphs[0], storage, settings)
        await runner.assembly.sources["a"].context.post([record("lost"), record("lost too")])
        await asyncio.sleep(2.5)
        await runner.assembly.sources["a"].context.post([record("kept")])
        await asyncio.sleep(0.1)
        await _abandon(runner, task)
        async with running(graphs[1], storage=storage) as flow:
            await asyncio.sleep(15)

            assert ["kept"] == flow.payloads("b")
            books = flow.runner.ledger
            assert ({"state_refused": 2}, 3, 0) == (books.dropped, books.received, books.balance)
            context = flow.runner.assembly.contexts["later"]
            assert "running" == context.status
            assert (context.reason or "").startswith("began without its state, 2 messages dropped")
            logged = {event: facts for _, event, facts in context.log.lines}  # type: ignore[attr-defined]
            refusal = logged["a node refused its state and begins without"]
            assert (2, reason) == (refusal["held"], refusal["reason"])
            assert "install the version that wrote it" in logged["the refused state is kept"]["help"]
        await storage.close()
        copy = tmp_path / "flows" / "flow" / "state.db.refused"
        store = DiskStore(copy, VirtualClock(START))
        await store.open()
        kept = await store.load()
        assert kept is not None
        assert 2 == kept.counters["later"]["held"]
        await store.close()

    run_virtual(scenario())


class Poisonable(Count):
    """Numbers the messages, sets a timer for each, and leaves a trace before it raises."""

    def on_batch(self, batch: Any) -> list[Message]:
        out: list[Message] = []
        for message in batch:
            if message.clock >= self.context.timers.due:
                self.advance(message.clock, out)
            self.count += 1
            key = message.payload if isinstance(message.payload, str) else message.payload % 50
            self.context.timers.set(key, message.clock + NANOSECONDS, now=message.clock)
            if isinstance(message.payload, str):
                self.context.counters.created += 5
                self.context.emit(message, "out")
                raise ZeroDivisionError("a bug")
            out.append(message.replace(payload=[message.payload, self.count]))
        return out

    def on_timer(self, key: Any, due: int) -> list[Message]:
        self.context.counters.created += 1
        return [Message("timer", [key, self.count], due, clock=due)]


node_type("poisonable")(Poisonable)


@pytest.mark.parametrize("large", [0, 10**9], ids=["a large state", "a small state"])
def test_thousands_of_poisonous_records_cost_one_restart_and_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(careful, "LARGE", large)
    graph = FlowBuilder(delivery="journal").source("a").node("n", Poisonable, "a").sink("b", "n").graph()

    async def results(payloads: list[Any], folder: str) -> tuple[list[Any], Flow]:
        settings = FlowSettings(state_dir=tmp_path / folder, checkpoint_every=1000.0)
        flow = Flow(graph, settings, VirtualClock(START), RecordingLog())
        task = asyncio.create_task(flow.run())
        await asyncio.sleep(0.5)
        source = flow.runner.assembly.sources["a"].context
        await source.post([record(payload) for payload in payloads])
        await asyncio.sleep(60)
        sink: Any = flow.runner.assembly.sinks["b"].node
        flow.stop(5.0)
        await task
        return [message.payload for message in sink.kept], flow

    async def scenario() -> None:
        mixed = [number if number % 2 else "poison" for number in range(6_000)]
        found, flow = await results(mixed, "mixed")
        clean, _ = await results([payload for payload in mixed if payload != "poison"], "clean")

        assert 1 == flow.restarts
        assert 3_000 < len(found)
        assert [count for _, count in clean] == [count for _, count in found]
        books = flow.runner.ledger
        assert (6_000, 3_000, 0, 0) == (books.received, books.dead_lettered, books.held, books.balance)
        assert len(found) == books.written

    run_virtual(scenario())


def test_a_timer_that_raises_is_not_taken_for_a_poisonous_record(tmp_path: Path) -> None:
    graph = FlowBuilder(delivery="journal").source("a").node("n", FaultyTimer, "a").sink("b", "n").graph()

    async def scenario() -> None:
        settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1000.0)
        flow = Flow(graph, settings, VirtualClock(START), RecordingLog())
        task = asyncio.create_task(flow.run())
        await asyncio.sleep(0.5)
        await flow.runner.assembly.sources["a"].context.post([record(1)])
        await asyncio.sleep(0.5)
        await flow.runner.assembly.sources["a"].context.post([record(2), record(3)])
        await asyncio.sleep(30)

        assert "degraded" == flow.status
        assert "faulty_timer" in str(flow.reason) or "crashed: ZeroDivisionError" in str(flow.reason)
        assert 0 == flow.runner.ledger.dead_lettered
        flow.stop(1.0)
        await task

    run_virtual(scenario())
