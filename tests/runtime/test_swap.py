"""Going over to another version of a running flow: what goes on is the same object, and what fails is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from flowrunner import (
    NANOSECONDS,
    Connection,
    ConnectionContext,
    Context,
    Message,
    NodeOptions,
    Options,
    RetryLater,
    Sink,
    Source,
    Transform,
    node_type,
)
from flowrunner.graph.build import Graph, GraphConnection
from flowrunner.graph.diff import diff
from flowrunner.registry import ConnectionType
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.reload.prepare import SwapError
from flowrunner.runtime.reload.swap import CrashedError
from flowrunner.testing import run_virtual
from tests.runtime.flows import FlowBuilder, Running, record, running

FAULTS: dict[str, str] = {}
"""What is to fail, by a word: ``construct``, ``open``, ``busy``, ``restore``, ``link``, ``source``."""


def fault(word: str) -> None:
    if (what := FAULTS.get(word)) is not None:
        raise RetryLater(what) if word == "busy" else ValueError(what)


class Config(NodeOptions):
    """An option that changes."""

    value: Annotated[int, Field(description="Any.")] = 0
    connection: Annotated[str | None, Field(description="A connection.")] = None


@node_type("tap")
class Tap(Source[Config]):
    """A source that a test feeds."""

    async def open(self) -> None:
        if self.config.value:
            fault("source")

    async def run(self) -> None:
        await asyncio.Event().wait()


@node_type("plus")
class Plus(Transform[Config]):
    """Adds its value; has no state."""

    def on_message(self, message: Message) -> Iterable[Message]:
        yield message.replace(payload=message.payload + self.config.value)


@node_type("hold")
class Hold(Transform[Config]):
    """Lets every message go ten seconds later. A state fits values of the same decade."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        if config.value:
            fault("construct")
        self.waiting: dict[int, Any] = {}
        self.count = 0

    @classmethod
    def state_options(cls, config: Config) -> Any:
        return config.value // 10

    def on_message(self, message: Message) -> None:
        self.count += 1
        self.waiting[self.count] = message.payload
        self.context.counters.held += 1
        self.context.timers.set(self.count, message.clock + 10 * NANOSECONDS, now=message.clock)

    def on_timer(self, key: int, due: int) -> Iterable[Message]:
        self.context.counters.held -= 1
        yield Message("late", self.waiting.pop(key), due, clock=due)

    def snapshot(self) -> Any:
        return [self.count, list(self.waiting.items())]

    def restore(self, state: Any) -> None:
        fault("restore")
        self.count, self.waiting = state[0], dict(state[1])


@node_type("store")
class Store(Sink[Config]):
    """A sink that keeps what it is given, behind a gate; what all of one name have got is in ``got``."""

    got: ClassVar[dict[str, list[Any]]] = {}
    gates: ClassVar[dict[str, asyncio.Event]] = {}

    async def open(self) -> None:
        if self.config.value:
            fault("open")
            fault("busy")

    async def write(self, batch: Sequence[Message]) -> None:
        if (gate := self.gates.get(self.context.node)) is not None:
            await gate.wait()
        for message in batch:
            if message.payload == "bad":
                self.context.fail(message, "bad")
            else:
                self.got.setdefault(self.context.node, []).append(message.payload)


class Link(Connection[Options]):
    """A connection that is up at once, or never."""

    runs = 0

    def __init__(self, config: Options, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self.forgotten: list[str] = []

    async def run(self) -> None:
        Link.runs += 1
        self.context.report(*FAULTS.get("link", "running").split(": ", 1))  # type: ignore[arg-type]
        await asyncio.Event().wait()

    def forget(self, node: str) -> None:
        self.forgotten.append(node)


@pytest.fixture(autouse=True)
def _as_it_was() -> Any:
    Store.got, Store.gates, Link.runs = {}, {}, 0
    yield
    FAULTS.clear()


class Flows(FlowBuilder):
    """Builds the flows of these tests."""

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[str, GraphConnection] = {}

    def link(self, name: str, definition: str = "") -> Flows:
        type = ConnectionType("link", Link, Options, "")
        self.links[name] = GraphConnection(name, type, Options(), definition)
        return self

    def graph(self) -> Graph:
        return msgspec.structs.replace(super().graph(), connections=self.links)


def flow(plus: int = 0, hold: int = 0, store: int = 0, tap: int = 0, **options: Any) -> Graph:
    """a → plus → hold → b, and plus → now."""
    built = Flows().node("a", Tap, value=tap).node("plus", Plus, "a", value=plus)
    built = built.node("hold", Hold, "plus", value=hold, **options)
    return built.node("b", Store, "hold", value=store).node("now", Store, "plus").graph()


def got(name: str) -> list[Any]:
    return Store.got.get(name, [])


def objects(runner: FlowRunner) -> dict[str, Any]:
    """Return the nodes and connections of a flow by name."""
    parts = runner.assembly
    nodes = {name: step.node for name, step in parts.steps.items()}
    tasks: dict[str, Any] = {**parts.sources, **parts.sinks}
    return {**nodes, **{name: task.node for name, task in tasks.items()}, **parts.connections}


async def feed(flow: Running, *payloads: Any, source: str = "a") -> None:
    await flow.feed(source, *[record(payload) for payload in payloads])
    await asyncio.sleep(0.5)


# What goes on


def test_what_did_not_change_goes_on_as_the_same_object() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            await feed(run, 1)
            before = objects(run.runner)
            swapped = await run.runner.replace(flow(plus=1))
            await feed(run, 2)
            await asyncio.sleep(20)

            after = objects(run.runner)
            assert {"plus"} == {name for name in after if after[name] is not before[name]}
            assert "restart" == swapped.plan.outcome("plus")
            assert ([1, 3], [1, 3]) == (got("now"), got("b"))
            assert 2 == run.runner.assembly.contexts["plus"].counters.received

    run_virtual(scenario())


def test_a_compatible_state_is_handed_over_with_its_timers() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            await feed(run, 1, 2)
            await asyncio.sleep(5)
            await run.runner.replace(flow(hold=1))
            assert 2 == run.runner.ledger.held
            await asyncio.sleep(4)
            assert [] == got("b")
            await asyncio.sleep(1)

            assert [1, 2] == got("b")

    run_virtual(scenario())


def test_a_state_that_does_not_fit_is_dropped_and_counted() -> None:
    async def scenario() -> None:
        async with running(flow(hold=10)) as run:
            await feed(run, 1, 2)
            await run.runner.replace(flow())
            await asyncio.sleep(20)

            assert [] == got("b")
            assert ({"reload": 2}, 0) == (run.runner.ledger.dropped, run.runner.ledger.held)

    run_virtual(scenario())


def test_what_a_removed_node_holds_is_dropped_and_counted() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            await feed(run, 1, 2)
            graph = Flows().node("a", Tap).node("plus", Plus, "a").node("now", Store, "plus")
            await run.runner.replace(graph.graph())
            await feed(run, 3)

            assert [1, 2, 3] == got("now")
            assert ({"reload": 2}, 0) == (run.runner.ledger.dropped, run.runner.ledger.balance)

    run_virtual(scenario())


def test_a_kept_node_learns_which_of_its_ports_have_a_wire() -> None:
    async def scenario() -> None:
        built = Flows().node("a", Tap).node("b", Store, "a")
        async with running(built.graph()) as run:
            await feed(run, 1, "bad")
            more = Flows().node("a", Tap).node("b", Store, "a").node("bad", Store, "b.errors")
            await run.runner.replace(more.graph())
            await asyncio.sleep(0.5)
            Store.got.clear()
            run.feed("a", record("bad"))
            await asyncio.sleep(0.5)

            assert frozenset({"errors"}) == run.runner.assembly.contexts["b"].wired
            assert {"errors": 1} == run.runner.assembly.contexts["b"].counters.emitted

    run_virtual(scenario())


# Sinks


@pytest.mark.parametrize("store", [0, 1], ids=["kept", "restarted"])
def test_what_waits_in_front_of_a_slow_sink_is_written_after_the_reload(store: int) -> None:
    async def scenario() -> None:
        async with running(Flows().node("a", Tap).node("b", Store, "a").graph()) as run:
            gate = Store.gates["b"] = asyncio.Event()
            for number in range(3000):
                run.feed("a", record(number))
            await asyncio.sleep(0.5)
            old = run.runner.assembly.sinks["b"]
            swapped = await run.runner.replace(
                Flows().node("a", Tap).node("b", Store, "a", value=store).graph()
            )
            assert swapped.pause < 0.25
            assert 3000 == run.runner.ledger.held
            gate.set()
            await asyncio.sleep(1)

            assert list(range(3000)) == got("b")
            assert (old is run.runner.assembly.sinks["b"]) is (store == 0)
            assert 0 == run.runner.ledger.balance

    run_virtual(scenario())


def test_a_write_that_never_ends_is_cut_and_written_by_the_sink_in_its_place() -> None:
    async def scenario() -> None:
        async with running(Flows().node("a", Tap).node("b", Store, "a").graph()) as run:
            Store.gates["b"] = asyncio.Event()
            await feed(run, 1, 2)
            await run.runner.replace(Flows().node("a", Tap).node("b", Store, "a", value=1).graph())
            await feed(run, 3)
            await asyncio.sleep(1)
            Store.gates.clear()
            await asyncio.sleep(10)

            assert [1, 2, 3] == got("b")

    run_virtual(scenario())


def test_reloads_in_front_of_a_stalled_sink_cost_no_memory() -> None:
    async def scenario() -> None:
        async with running(Flows().node("a", Tap).node("b", Store, "a").graph()) as run:
            gate = Store.gates["b"] = asyncio.Event()
            for number in range(20_000):
                run.feed("a", record(number))
            for value in range(1, 30):
                await run.runner.replace(Flows().node("a", Tap).node("b", Store, "a", value=value).graph())
                await asyncio.sleep(0.1)
            under_way = run.runner.pump.position
            assert under_way < 8192
            gate.set()
            await asyncio.sleep(20)

            assert list(range(20_000)) == got("b")

    run_virtual(scenario())


def test_a_removed_sink_writes_what_had_come_to_it() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            gate = Store.gates["now"] = asyncio.Event()
            await feed(run, 1, 2, 3)
            built = (
                Flows()
                .node("a", Tap)
                .node("plus", Plus, "a")
                .node("hold", Hold, "plus")
                .node("b", Store, "hold")
            )
            await run.runner.replace(built.graph())
            await feed(run, 4)
            assert 0 == run.runner.ledger.balance
            gate.set()
            await asyncio.sleep(20)

            assert ([1, 2, 3], [1, 2, 3, 4]) == (got("now"), got("b"))
            assert (7, 0, []) == (
                run.runner.ledger.written,
                run.runner.ledger.balance,
                run.runner.assembly.leaving,
            )

    run_virtual(scenario())


def test_what_a_removed_sink_cannot_write_in_time_becomes_dead_letters() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            Store.gates["now"] = asyncio.Event()
            await feed(run, 1, 2, 3)
            built = (
                Flows()
                .node("a", Tap)
                .node("plus", Plus, "a")
                .node("hold", Hold, "plus")
                .node("b", Store, "hold")
            )
            await run.runner.replace(built.graph())
            await asyncio.sleep(60)

            books = run.runner.ledger
            assert (3, 3, 0) == (books.written, books.dead_lettered, books.balance)

    run_virtual(scenario())


# Stages


def test_a_stage_is_drained_though_the_sink_behind_it_is_stalled() -> None:
    async def scenario() -> None:
        async with running(flow(buffer={"capacity": 5})) as run:
            gate = Store.gates["b"] = asyncio.Event()
            for number in range(3000):
                run.feed("a", record(number))
            await asyncio.sleep(15)
            assert "hold" == run.runner.assembly.stages[0].name
            swapped = await run.runner.replace(flow(plus=10_000))
            assert ("keep", "restart") == (swapped.plan.outcome("hold"), swapped.plan.outcome("plus"))
            assert [] == run.runner.assembly.stages
            gate.set()
            await asyncio.sleep(30)

            assert 3000 == len(got("b")) == len(set(got("b")))
            assert 0 == run.runner.ledger.balance

    run_virtual(scenario())


def errors_flow(plus: int = 0) -> Graph:
    built = Flows().node("a", Tap).node("b", Store, "a").node("again", Plus, "b.errors", "a", value=plus)
    return built.node("c", Store, "again", buffer={"capacity": 50}).graph()


def test_a_stage_behind_the_errors_of_a_stalled_sink_does_not_hold_up_a_reload() -> None:
    async def scenario() -> None:
        async with running(errors_flow(), checkpoint_every=0.3) as run:
            gate = Store.gates["b"] = asyncio.Event()
            for number in range(40):
                run.feed("a", record(number))
            await asyncio.sleep(2)
            before = objects(run.runner)
            for plus in (1, 0, 1):
                await asyncio.wait_for(run.runner.replace(errors_flow(plus)), 5)
            gate.set()
            for number in range(40, 80):
                run.feed("a", record(number))
            await asyncio.sleep(5)

            assert before["b"] is objects(run.runner)["b"]
            assert list(range(80)) == got("b")
            assert [*range(40), *range(41, 81)] == got("c")

    run_virtual(scenario())


# Undone


FAILURES: dict[str, tuple[str, dict[str, int], bool, str]] = {
    "a constructor": ("construct", {"hold": 1}, False, "no"),
    "a sink's open": ("open", {"store": 1}, False, "`b` cannot be opened: ValueError: no"),
    "a sink that is not ready, when strict": ("busy", {"store": 1}, True, "`b` cannot be opened: no"),
    "a source's open": ("source", {"tap": 1}, False, "`a` cannot be opened: ValueError: no"),
    "a state": ("restore", {"hold": 1}, False, "`hold` does not take up its state: ValueError: no"),
}


@pytest.mark.parametrize("buffered", [False, True], ids=["pumped", "in a stage"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_leaves_the_flow_as_it_was(name: str, buffered: bool) -> None:
    word, options, strict, reason = FAILURES[name]
    buffer: dict[str, Any] = {"buffer": {"capacity": 10}} if buffered else {}

    async def scenario() -> None:
        async with running(flow(**buffer), checkpoint_every=1.0) as run:
            await feed(run, 1, 2)
            FAULTS[word] = "no"
            before, graph = objects(run.runner), run.runner.graph
            with pytest.raises((SwapError, ValueError), match=reason):
                await run.runner.replace(flow(**options, **buffer), strict=strict)
            FAULTS.clear()
            await feed(run, 3)
            await asyncio.sleep(20)

            assert before == objects(run.runner)
            assert graph is run.runner.graph
            assert ([1, 2, 3], [1, 2, 3]) == (got("now"), got("b"))
            assert run.runner.checkpointer.age < 20
            swapped = await run.runner.replace(flow(**options, **buffer), strict=strict)
            await feed(run, 4)
            await asyncio.sleep(20)
            assert swapped.plan.changes
            assert [1, 2, 3, 4] == got("b")

    run_virtual(scenario())


def test_a_sink_that_is_not_ready_is_no_reason_not_to_go_over() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            FAULTS["busy"] = "later"
            await run.runner.replace(flow(store=1))
            await feed(run, 1)
            await asyncio.sleep(30)
            assert [] == got("b")
            FAULTS.clear()
            await asyncio.sleep(120)

            assert [1] == got("b")

    run_virtual(scenario())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 6, 8, 10])
@pytest.mark.parametrize("buffered", [False, True], ids=["pumped", "in a stage"])
def test_a_reload_that_is_cancelled_is_undone_or_done(buffered: bool, turns: int) -> None:
    buffer: dict[str, Any] = {"buffer": {"capacity": 10}} if buffered else {}

    async def scenario() -> None:
        async with running(flow(**buffer)) as run:
            await feed(run, 1)
            before = objects(run.runner)
            run.feed("a", record(2))

            replacing = asyncio.create_task(run.runner.replace(flow(store=1, **buffer)))
            for _ in range(turns):
                await asyncio.sleep(0)
            replacing.cancel()
            with suppress(asyncio.CancelledError):
                await replacing
            await feed(run, 3)
            await asyncio.sleep(20)

            assert (before == objects(run.runner)) is replacing.cancelled()
            assert ([1, 2, 3], 0) == (got("b"), run.runner.ledger.balance)

    run_virtual(scenario())


def test_a_flow_that_does_not_run_cannot_go_over() -> None:
    async def scenario() -> None:
        async with running(flow()) as run:
            runner = run.runner
        with pytest.raises(CrashedError):
            await runner.replace(flow(plus=1))

    run_virtual(scenario())


# Connections


def linked(definition: str = "", *, link: str = "link", second: bool = True) -> Graph:
    built = Flows().link(link, definition).node("a", Tap, connection=link)
    if second:
        built.node("other", Tap, connection=link)
    return built.node("b", Store, *(["a", "other"] if second else ["a"])).graph()


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_a_connection_that_changed_begins_anew_and_one_that_did_not_goes_on(strict: bool) -> None:
    async def scenario() -> None:
        async with running(linked()) as run:
            await asyncio.sleep(1)
            first = run.runner.assembly.connections["link"]
            await run.runner.replace(linked(second=False), strict=strict)
            await asyncio.sleep(1)
            assert isinstance(first, Link)
            assert (1, ["other"]) == (Link.runs, first.forgotten)
            assert first is run.runner.assembly.connections["link"]
            await run.runner.replace(linked("x", second=False), strict=strict)
            await asyncio.sleep(1)
            await feed(run, 1)

            second = run.runner.assembly.connections["link"]
            assert (2, "running") == (Link.runs, second.context.status)
            assert first is not second
            assert [1] == got("b")

    run_virtual(scenario())


@pytest.mark.parametrize("name", ["link", "new"], ids=["changed", "new"])
def test_a_refused_connection_undoes_a_strict_reload(name: str) -> None:
    async def scenario() -> None:
        async with running(linked()) as run:
            await asyncio.sleep(1)
            FAULTS["link"] = "failed: wrong password"
            before = objects(run.runner)
            with pytest.raises(SwapError, match=f"connection `{name}` is not up: wrong password"):
                await run.runner.replace(linked("x", link=name), strict=True)
            await feed(run, 1)

            assert before == objects(run.runner)
            assert [1] == got("b")

    run_virtual(scenario())


# The plan is what happens

NODES = st.fixed_dictionaries(
    {
        "plus": st.integers(0, 1),
        "hold": st.integers(0, 2),
        "store": st.integers(0, 1),
        "tap": st.integers(0, 1),
        "buffer": st.sampled_from([None, {"capacity": 3}]),
        "second": st.sampled_from(["none", "tap", "plus"]),
        "into": st.sampled_from(["a", "plus", "hold"]),
        "errors": st.booleans(),
        "link": st.sampled_from(["", "x"]),
    }
)


def drawn(options: dict[str, Any]) -> Graph:
    built = Flows().link("link", options["link"]).node("a", Tap, value=options["tap"], connection="link")
    built.node("plus", Plus, "a", value=options["plus"])
    built.node("hold", Hold, "plus", value=options["hold"], buffer=options["buffer"])
    inputs = [options["into"]]
    if options["second"] != "none":
        built.node(
            "second",
            Tap if options["second"] == "tap" else Plus,
            *(["a"] if options["second"] == "plus" else []),
        )
        inputs.append("second")
    built.node("b", Store, *inputs, value=options["store"])
    if options["errors"]:
        built.node("again", Plus, "b.errors").node("c", Store, "again")
    return built.graph()


@given(versions=st.lists(NODES, min_size=2, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_plan_is_what_happens(versions: list[dict[str, Any]]) -> None:
    Store.got.clear()
    graphs = [drawn(options) for options in versions]

    async def scenario() -> None:
        number = 0
        async with running(graphs[0], checkpoint_every=0.2) as run:
            await asyncio.sleep(0.1)
            for old, new in pairwise(graphs):
                run.feed("a", record(number), record(number + 1))
                number += 2
                await asyncio.sleep(0.3 if number % 4 else 0)
                before = objects(run.runner)
                held = {name: node.waiting for name, node in before.items() if isinstance(node, Hold)}
                swapped = await run.runner.replace(new)
                after = objects(run.runner)
                assert diff(old, new) == swapped.plan
                happened = {
                    change.name: _happened(change.name, before, after, held)
                    for change in swapped.plan.nodes + swapped.plan.connections
                }
                expected = {
                    change.name: _comparable(change.outcome, after.get(change.name), held)
                    for change in swapped.plan.nodes + swapped.plan.connections
                }
                assert expected == happened
                assert 0 == run.runner.ledger.balance
            await asyncio.sleep(30)
            assert (0, 0) == (run.runner.ledger.balance, run.runner.ledger.held)

    run_virtual(scenario())


def _happened(name: str, before: dict[str, Any], after: dict[str, Any], held: dict[str, Any]) -> str:
    if name not in after:
        return "removed"
    if name not in before:
        return "added"
    if before[name] is after[name]:
        return "keep"
    if isinstance(after[name], Hold) and held.get(name):
        return "state_kept" if after[name].waiting == held[name] else "state_lost"
    return "anew"


def _comparable(outcome: str, node: Any, held: dict[str, Any]) -> str:
    """Of a node that held nothing no one can tell whether its state was kept."""
    told = outcome in ("keep", "added", "removed") or (isinstance(node, Hold) and any(held.values()))
    return outcome if told else "anew"
