"""Checkpoints: what belongs to the cut and what does not; a disk that fails; dead letters that do not wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner import JournalFull, NodeOptions, Record, node_type
from flowrunner.runtime.checkpoints import state
from flowrunner.runtime.checkpoints.checkpoint import EARLY_FLUSH, MOST_UNSAVED
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, Keep, record, running
from tests.runtime.test_flow import Even, Later

Config = NodeOptions


async def _start(graph: Any, storage: Storage) -> tuple[FlowRunner, asyncio.Task[None]]:
    runner = FlowRunner(graph, storage, SETTINGS, VirtualClock(START), RecordingLog())
    task = asyncio.create_task(runner.run())
    await runner.ready.wait()
    return runner, task


SETTINGS = FlowSettings(state_dir=Path("unused"), checkpoint_every=1.0)


def _storage() -> Storage:
    return Storage("flow", "memory", SETTINGS, VirtualClock(START))


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_what_a_channel_drops_behind_a_marker_is_not_part_of_its_checkpoint(when_full: str) -> None:
    buffer = {"capacity": 2, "when_full": when_full}
    graph = FlowBuilder().source("a").sink("b", "a", buffer=buffer).graph()

    async def scenario() -> None:
        storage = _storage()
        await storage.open()
        runner, task = await _start(graph, storage)
        sink = runner.assembly.sinks["b"].node
        assert isinstance(sink, Keep)
        sink.gate.clear()
        source = runner.assembly.sources["a"].context
        await source.post([record(0)])
        await asyncio.sleep(1.5)  # the marker waits behind the first message
        for number in range(1, 30):
            await source.post([record(number)])
            await asyncio.sleep(0.001)
        sink.gate.set()
        await asyncio.sleep(0.01)  # the checkpoint of the marker is committed
        assert 0 == runner.ledger.balance
        task.cancel()
        await asyncio.wait({task})
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(1)

            books = flow.runner.ledger
            assert (30, 0, 0) == (books.received, books.balance, books.held)
            counters = flow.runner.assembly.contexts["b"].counters
            assert 0 == counters.balance()
        await storage.close()

    run_virtual(scenario())


def test_records_of_a_source_that_is_gone_are_counted_once_though_the_marker_overtakes_them() -> None:
    before = FlowBuilder().source("a").source("c").sink("b", "a", "c").graph()
    after = FlowBuilder().source("a").sink("b", "a").graph()

    async def scenario() -> None:
        storage = _storage()
        await storage.open()
        runner, task = await _start(before, storage)
        await runner.assembly.sources["a"].context.post([record(0)])
        await asyncio.sleep(3)
        await runner.assembly.sources["c"].context.post([record(1), record(2)])
        task.cancel()
        await asyncio.wait({task})
        runner, task = await _start(after, storage)
        await asyncio.sleep(0.1)
        assert {"source_removed": 2} == runner.ledger.dropped
        task.cancel()
        await asyncio.wait({task})
        async with running(after, storage=storage) as flow:
            await asyncio.sleep(3)

            assert ({"source_removed": 2}, 3) == (flow.runner.ledger.dropped, flow.runner.ledger.received)
        await storage.close()

    run_virtual(scenario())


@pytest.mark.parametrize("before", ["source", "transform"])
def test_a_node_that_becomes_a_source_or_stops_being_one_keeps_the_books_in_balance(before: str) -> None:
    graphs = {
        "source": FlowBuilder().source("a").source("n").sink("b", "a", "n").graph(),
        "transform": FlowBuilder().source("a").node("n", Even, "a").sink("b", "n").graph(),
    }
    after = graphs["transform" if before == "source" else "source"]

    async def scenario() -> None:
        storage = _storage()
        await storage.open()
        async with running(graphs[before], storage=storage) as flow:
            await flow.feed("a", record(1), record(2))
            if before == "source":
                await flow.feed("n", record(3))
            await asyncio.sleep(1)
        async with running(after, storage=storage) as flow:
            await flow.feed("a", record(4))
            await asyncio.sleep(1)

            books = flow.runner.ledger
            assert (0, 0, 4 if before == "source" else 3) == (books.balance, books.held, books.received)
        await storage.close()

    run_virtual(scenario())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), JournalFull("full")])
def test_the_flow_goes_on_when_the_disk_does_not_take_a_checkpoint(error: Exception) -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph(), checkpoint_every=1.0) as flow:
            saves = list[int]()
            store: Any = flow.runner.store
            save = store.save

            async def failing(checkpoint: Any, letters: Any) -> int:
                saves.append(len(letters))
                if len(saves) < 3:
                    raise error
                return int(await save(checkpoint, letters))

            store.save = failing
            await flow.feed("a", record(1), Record(b"no JSON"))
            await asyncio.sleep(1.5)
            assert str(error) == flow.runner.checkpointer.error
            await flow.feed("a", record(2))
            await asyncio.sleep(5)

            assert ([1, 2], 1) == (flow.payloads("b"), store.letters.count)
            assert flow.runner.checkpointer.error is None
            assert [1, 1, 1, 0] == saves  # the last lets the journal give up what the one before has

    run_virtual(scenario())


def test_any_other_error_while_saving_ends_the_flow_for_a_new_start() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph(), checkpoint_every=1.0) as flow:

            async def failing(*_: Any) -> int:
                raise ValueError("bug")

            store: Any = flow.runner.store
            store.save = failing
            await flow.feed("a", record(1))
            await asyncio.sleep(5)

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        run_virtual(scenario())


def test_many_dead_letters_do_not_wait_for_a_sink_that_stalls() -> None:
    async def scenario() -> None:
        builder = FlowBuilder().source("a").node("even", Even, "a").sink("b", "even").sink("stalled", "a")
        graph = builder.graph()
        storage = _storage()
        await storage.open()
        runner, task = await _start(graph, storage)
        stalled = runner.assembly.sinks["stalled"].node
        assert isinstance(stalled, Keep)
        stalled.gate.clear()
        store: Any = storage.store
        add, failures = store.add_dead_letters, [OSError("not now")]

        async def failing(letters: Any) -> None:
            if failures:
                raise failures.pop()
            await add(letters)

        store.add_dead_letters = failing
        for _ in range(3):
            await runner.assembly.sources["a"].context.post([record("bad")] * EARLY_FLUSH)
            await asyncio.sleep(10)
        assert len(runner.checkpointer.dead_letters) < EARLY_FLUSH
        assert storage.store.letters.count >= 2 * EARLY_FLUSH
        task.cancel()
        await asyncio.wait({task})
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(5)

            assert 3 * EARLY_FLUSH == flow.runner.ledger.dead_lettered
        assert 3 * EARLY_FLUSH == storage.store.letters.count
        await storage.close()

    run_virtual(scenario())


def test_a_stop_with_a_stalled_sink_leaves_everything_to_the_journal_and_a_restart_writes_it() -> None:
    graph = FlowBuilder().source("a").node("later", Later, "a").sink("b", "later", "a").graph()

    async def scenario() -> None:
        storage = _storage()
        await storage.open()
        async with running(graph, storage=storage) as flow:
            flow.sink("b").gate.clear()
            await flow.feed("a", *[record(number) for number in range(100)])
            await asyncio.sleep(12)
            assert [] == flow.payloads("b")
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(12)

            assert sorted([*range(100), *range(100)]) == sorted(flow.payloads("b"))
        await storage.close()

    run_virtual(scenario())


def test_a_calm_flow_takes_one_more_checkpoint_so_that_the_journal_is_given_back_what_is_done() -> None:
    """The journal may be full of it, and then nothing would ever come that is worth a checkpoint."""

    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph(), checkpoint_every=1.0) as flow:
            released: list[int] = []
            journal: Any = flow.runner.journal
            journal.release = released.append
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(10)

            assert [0, 2] == released

    run_virtual(scenario())


@node_type("unwritable")
class Unwritable(Later):
    """Has a state that nobody can write down while ``broken``."""

    broken = True

    def snapshot(self) -> Any:
        return object() if self.broken else super().snapshot()


def test_a_state_that_cannot_be_saved_stops_checkpoints_and_not_the_flow() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("n", Unwritable, "a").sink("b", "n", "a").graph()
        async with running(graph, checkpoint_every=1.0) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(3)
            assert "the state of node `n` cannot be saved: TypeError" in str(flow.runner.checkpointer.error)
            assert [1] == flow.payloads("b")
            node: Any = flow.runner.assembly.steps["n"].node
            node.broken = False
            await asyncio.sleep(3)

            assert flow.runner.checkpointer.error is None

    run_virtual(scenario())


def test_a_large_integer_that_waits_does_not_end_checkpoints() -> None:
    graph = FlowBuilder().source("a").node("n", Later, "a").sink("b", "n").graph()

    async def scenario() -> None:
        storage = _storage()
        await storage.open()
        runner, task = await _start(graph, storage)
        await runner.assembly.sources["a"].context.post([record({"x": 10**40})])
        await asyncio.sleep(3)
        task.cancel()
        await asyncio.wait({task})
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(15)

            assert [{"x": 10**40}] == flow.payloads("b")
        await storage.close()

    run_virtual(scenario())


def test_a_stage_goes_on_with_nothing_while_its_state_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PATIENCE_NS", 0)
    graph = FlowBuilder().source("a").node("n", Later, "a").sink("b", "n").graph()

    async def scenario() -> None:
        storage = _storage()
        await storage.open()
        runner, task = await _start(graph, storage)
        source = runner.assembly.sources["a"].context
        await source.post([record(number) for number in range(3000)])
        await asyncio.sleep(0.5)
        taken = asyncio.create_task(runner.checkpointer.take())
        others = 0
        while not taken.done():
            source.post([record(others)])
            await asyncio.sleep(0)
            others += 1
        assert others > 3
        task.cancel()
        await asyncio.wait({task})
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(30)

            assert 3000 + others == len(flow.payloads("b"))
        await storage.close()

    run_virtual(scenario())


def test_a_checkpoint_that_was_given_up_does_not_mix_with_the_next() -> None:
    graph = FlowBuilder().source("a").node("n", Later, "a", buffer={"capacity": 4}).sink("b", "n").graph()

    async def scenario() -> None:
        async with running(graph, checkpoint_every=1000.0) as flow:
            runner = flow.runner
            await flow.feed("a", record(1))
            first = asyncio.create_task(runner.checkpointer.take())
            await asyncio.sleep(0)
            first.cancel()
            await runner.checkpointer.take()

            saved = await runner.store.load()
            assert saved is not None
            assert ({"n": 1}, 1) == (saved.versions, saved.counters["n"]["held"])

    run_virtual(scenario())


def test_the_pump_stops_when_dead_letters_cannot_be_saved_and_goes_on_when_they_can() -> None:
    count = 20 * MOST_UNSAVED

    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("even", Even, "a").sink("b", "even").graph()
        async with running(graph, checkpoint_every=1.0) as flow:
            store: Any = flow.runner.store
            broken = True
            save, add = store.save, store.add_dead_letters

            async def failing(*arguments: Any) -> Any:
                if broken:
                    raise OSError("the disk is gone")
                return await (save if len(arguments) == 2 else add)(*arguments)

            store.save = store.add_dead_letters = failing
            await flow.feed("a", *[record("bad")] * count)
            await asyncio.sleep(30)
            waiting = len(flow.runner.checkpointer.dead_letters)
            assert MOST_UNSAVED <= waiting < 3 * MOST_UNSAVED
            assert "the disk is gone" == flow.runner.checkpointer.error
            assert (0, count - waiting) == (flow.runner.ledger.balance, flow.runner.ledger.held)
            broken = False
            await asyncio.sleep(60)

            assert (count, 0) == (flow.runner.ledger.dead_lettered, flow.runner.ledger.held)
            assert count == sum(store.letters.kept.values())

    run_virtual(scenario())
