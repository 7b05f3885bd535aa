"""The supervisor: one flow's misfortune is its own, and versions take over from each other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner import Message, NodeOptions, Transform, node_type
from flowrunner.graph.build import Graph
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow, Supervisor
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, Keep, record
from tests.runtime.test_flow import Even, Later

Config = NodeOptions


@node_type("fragile")
class Fragile(Transform[NodeOptions]):
    """Its constructor raises when a test says so, its timer always."""

    broken = False

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        if self.broken:
            raise ValueError("cannot be made")

    def on_message(self, message: Message) -> None:
        self.context.timers.set("x", message.clock + 1, now=message.clock)

    def on_timer(self, key: str, due: int) -> None:
        raise ZeroDivisionError(key)


@pytest.fixture(autouse=True)
def _as_it_was() -> Any:
    yield
    Fragile.broken = False


def graph(name: str = "flow", cls: type[Any] = Even, delivery: Any = "memory") -> Graph:
    return FlowBuilder(name, delivery).source("a").node("n", cls, "a").sink("b", "n").graph()


class Started:
    """A supervisor that runs."""

    def __init__(self, folder: Path, *graphs: Graph) -> None:
        self.log = RecordingLog()
        settings = FlowSettings(state_dir=folder, checkpoint_every=1.0)
        self.supervisor = Supervisor(settings, VirtualClock(START), self.log)
        self._graphs = {graph.name: graph for graph in graphs}

    async def __aenter__(self) -> Supervisor:
        self.task = asyncio.create_task(self.supervisor.run(self._graphs))
        await asyncio.sleep(0.5)
        return self.supervisor

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.stop(5.0)
        await self.task


async def feed(flow: Flow, *payloads: Any) -> None:
    await flow.runner.assembly.sources["a"].context.post([record(payload) for payload in payloads])


def kept(flow: Flow) -> list[Any]:
    sink = flow.runner.assembly.sinks["b"].node
    assert isinstance(sink, Keep)
    return [message.payload for message in sink.kept]


def test_a_flow_that_cannot_be_built_does_not_keep_the_others_from_starting(tmp_path: Path) -> None:
    async def scenario() -> None:
        Fragile.broken = True
        started = Started(tmp_path, graph("bad", Fragile), graph("good"))
        async with started as supervisor:
            await feed(supervisor.flows["good"], 2)
            await asyncio.sleep(1)
            assert [2] == kept(supervisor.flows["good"])
            assert {"bad": "cannot be built: ValueError: cannot be made"} == supervisor.refused
            Fragile.broken = False
            supervisor.add(graph("bad", Fragile))

            assert ({}, {"bad", "good"}) == (supervisor.refused, set(supervisor.flows))

    run_virtual(scenario())


def test_a_flow_that_crashes_in_a_loop_does_not_disturb_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Started(tmp_path, graph("bad", Fragile), graph("good")) as supervisor:
            bad, good = supervisor.flows["bad"], supervisor.flows["good"]
            for number in range(60):
                if number == 1:
                    await feed(bad, 1)
                await feed(good, number * 2)
                await asyncio.sleep(5)

            assert list(range(0, 120, 2)) == kept(good)
            assert 0 == good.restarts
            assert 5 < bad.restarts < 60
            assert "node `n` crashed: ZeroDivisionError: x" in (bad.reason or "")

    run_virtual(scenario())


def test_a_flow_that_cannot_be_built_any_more_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Started(tmp_path, graph("bad", Fragile), graph("good")) as supervisor:
            bad = supervisor.flows["bad"]
            await feed(bad, 1)
            Fragile.broken = True
            await asyncio.sleep(120)
            assert ("degraded", "cannot be built: ValueError: cannot be made") == (bad.status, bad.reason)
            Fragile.broken = False
            await asyncio.sleep(70)
            assert "cannot be built" not in (bad.reason or "")
            Fragile.broken = True
            await asyncio.sleep(70)
            await supervisor.replace(graph("bad"))
            await asyncio.sleep(1)

            assert ("running", 2) == (bad.status, bad.generation)

    run_virtual(scenario())


def test_a_version_that_cannot_be_built_leaves_the_running_one_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Started(tmp_path, graph()) as supervisor:
            flow, runner = supervisor.flows["flow"], supervisor.flows["flow"].runner
            Fragile.broken = True
            with pytest.raises(ValueError, match="cannot be made"):
                await supervisor.replace(graph(cls=Fragile))
            with pytest.raises(ValueError, match="cannot be made"):
                await supervisor.replace(graph(cls=Fragile, delivery="journal"))
            await feed(flow, 2)
            await asyncio.sleep(1)

            assert ([2], 1, runner) == (kept(flow), flow.generation, flow.runner)

    run_virtual(scenario())


def test_a_new_version_goes_on_with_the_states_of_unchanged_nodes(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = graph(cls=Later)
        after = FlowBuilder().source("a").node("n", Later, "a").sink("b", "n", description="x").graph()
        async with Started(tmp_path, before) as supervisor:
            flow = supervisor.flows["flow"]
            await feed(flow, 1)
            await asyncio.sleep(5)
            await supervisor.replace(after)
            await asyncio.sleep(1)
            assert (2, 1) == (flow.generation, flow.runner.ledger.held)
            await asyncio.sleep(5)

            assert ([1], 0) == (kept(flow), flow.runner.ledger.balance)

    run_virtual(scenario())


def test_another_delivery_takes_effect_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Started(tmp_path, graph()) as supervisor:
            await supervisor.replace(graph(delivery="journal"))
            await asyncio.sleep(0.5)
            flow = supervisor.flows["flow"]
            await feed(flow, 2)

            assert ("journal", "running") == (flow.storage.delivery, flow.status)
            assert (tmp_path / "flows" / "flow" / "journal").is_dir()

    run_virtual(scenario())


def test_a_removed_flow_is_drained(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Started(tmp_path, graph("one"), graph("two")) as supervisor:
            one = supervisor.flows["one"]
            await feed(one, 2, 4)
            await supervisor.remove("one")

            assert ([2, 4], "stopped", ["two"]) == (kept(one), one.status, list(supervisor.flows))

    run_virtual(scenario())


def test_a_removal_that_is_cut_short_leaves_the_flow_to_the_end_of_the_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Started(tmp_path, graph()) as supervisor:
            flow = supervisor.flows["flow"]
            sink = flow.runner.assembly.sinks["b"].node
            assert isinstance(sink, Keep)
            sink.gate.clear()
            await feed(flow, 2)
            removing = asyncio.create_task(supervisor.remove("flow"))
            await asyncio.sleep(1)
            removing.cancel()
            await asyncio.wait({removing})
            assert flow.status == "running"
            sink.gate.set()
        assert ("stopped", [2]) == (flow.status, kept(flow))

    run_virtual(scenario())


def test_a_state_directory_that_cannot_be_used_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        blocker = tmp_path / "flows"
        blocker.write_text("a file where a directory must be")
        async with Started(tmp_path, graph(delivery="journal"), graph("good")) as supervisor:
            flow = supervisor.flows["flow"]
            assert ("failed", True) == (flow.status, "the state directory cannot" in (flow.reason or ""))
            assert "running" == supervisor.flows["good"].status
            blocker.unlink()
            await asyncio.sleep(70)
            assert "running" == flow.status
            await feed(flow, 2)
            await asyncio.sleep(1)

            assert [2] == kept(flow)

    run_virtual(scenario())


def test_a_journal_that_another_process_has_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = FlowSettings(state_dir=tmp_path)
        other = Flow(graph(delivery="journal"), settings, VirtualClock(START), RecordingLog())
        await other.storage.open()
        async with Started(tmp_path, graph(delivery="journal")) as supervisor:
            flow = supervisor.flows["flow"]
            assert "in use by another process" in (flow.reason or "")
            await other.storage.close()
            await asyncio.sleep(70)

            assert "running" == flow.status

    run_virtual(scenario())


def test_a_flow_that_waits_for_its_state_directory_ends_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "flows").write_text("")
        async with Started(tmp_path, graph(delivery="journal")):
            await asyncio.sleep(300)
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before < 0.1

    run_virtual(scenario())


def test_files_that_cannot_be_closed_end_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        started = Started(tmp_path, graph("one"), graph("two"))
        async with started as supervisor:

            async def close() -> None:
                raise OSError("the disk is gone")

            supervisor.flows["one"].storage.close = close  # type: ignore[method-assign]
            await feed(supervisor.flows["two"], 2)
        assert [2] == kept(supervisor.flows["two"])
        assert "flow did not close its files" in [event for _, event, _ in started.log.lines]

    run_virtual(scenario())


def test_on_error_stop_waits_for_a_new_version(tmp_path: Path) -> None:
    def stopping(on_error: str) -> Graph:
        builder = FlowBuilder().source("a").node("n", Even, "a", on_error=on_error)
        return builder.sink("b", "n").graph()

    async def scenario() -> None:
        async with Started(tmp_path, stopping("stop")) as supervisor:
            flow = supervisor.flows["flow"]
            await feed(flow, 2, "x", 4)
            await asyncio.sleep(86_400)
            assert ("failed", 0) == (flow.status, flow.restarts)
            assert "`on_error: stop`" in (flow.reason or "")
            await supervisor.replace(stopping("drop"))
            await asyncio.sleep(1)

            assert ([2, 4], {"error": 1}) == (kept(flow), flow.runner.ledger.dropped)

    run_virtual(scenario())


def test_what_does_not_end_in_time_is_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        started = Started(tmp_path, graph())
        async with started as supervisor:
            node = supervisor.flows["flow"].runner.assembly.sources["a"].node

            async def close() -> None:
                await asyncio.sleep(1000)

            node.close = close  # type: ignore[method-assign]
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before < 8

    run_virtual(scenario())


def test_in_a_hurry_nothing_is_drained(tmp_path: Path) -> None:
    async def scenario() -> None:
        started = Started(tmp_path, graph())
        async with started as supervisor:
            sink = supervisor.flows["flow"].runner.assembly.sinks["b"].node
            assert isinstance(sink, Keep)
            sink.gate.clear()
            await feed(supervisor.flows["flow"], 2)
            before = asyncio.get_running_loop().time()
            stopping = asyncio.create_task(supervisor.stop(20.0))
            await asyncio.sleep(1)
            supervisor.hurry()
            await stopping
            assert asyncio.get_running_loop().time() - before < 1.5

    run_virtual(scenario())


def test_fifty_flows_run_side_by_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        graphs = [graph(f"flow_{number}", delivery="journal") for number in range(50)]
        async with Started(tmp_path, *graphs) as supervisor:
            for flow in supervisor.flows.values():
                await feed(flow, 2, 3, 4)
            await asyncio.sleep(3)

            assert [[2, 4]] * 50 == [kept(flow) for flow in supervisor.flows.values()]
            assert {0} == {flow.runner.ledger.balance for flow in supervisor.flows.values()}

    run_virtual(scenario())


async def test_flows_are_added_only_to_a_supervisor_that_runs(tmp_path: Path) -> None:
    supervisor = Started(tmp_path).supervisor

    with pytest.raises(RuntimeError, match="not running"):
        supervisor.add(graph())


def test_a_flow_that_is_cancelled_ends_though_a_task_of_it_fails_meanwhile() -> None:
    async def scenario() -> None:
        flow = Flow(
            FlowBuilder().source("a").sink("b", "a").graph(),
            FlowSettings(Path()),
            VirtualClock(START),
            RecordingLog(),
        )
        task = asyncio.create_task(flow.run())
        await flow.runner.ready.wait()

        async def fail() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                raise ValueError("no time to die")

        assert flow.runner._tasks is not None
        flow.runner._tasks.start(fail(), "fails")
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        assert (True, 0) == (task.cancelled(), flow.restarts)

    run_virtual(scenario())
