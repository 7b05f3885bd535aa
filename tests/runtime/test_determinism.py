"""A flow is a function of its journal: batch boundaries, pauses and crashes do not show in what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner import NANOSECONDS, Message, NodeOptions, Record, Transform, node_type
from flowrunner.graph.build import Graph
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.runtime.supervisor import Flow
from flowrunner.testing import VirtualClock, run_virtual
from flowrunner.testing.play import KeptStorage
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, Keep, Replay, registered
from tests.runtime.graphs import Unruly, load, random_flow, random_records
from tests.runtime.test_flow import Even, Later, Twice

Config = NodeOptions


@node_type("sums")
class Sums(Transform[NodeOptions]):
    """Emits the sum of what came in the last three seconds: order and time both show."""

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.seen: list[int] = []

    def on_message(self, message: Message) -> Iterable[Message]:
        if not self.seen:
            self.context.timers.set("window", message.clock + 3 * NANOSECONDS, now=message.clock)
        self.seen.append(message.payload)
        self.context.counters.held += 1
        return ()

    def on_timer(self, key: str, due: int) -> Iterable[Message]:
        self.context.counters.held -= len(self.seen)
        self.context.counters.aggregated += len(self.seen)
        self.context.counters.created += 1
        seen, self.seen = self.seen, []
        yield Message("sum", sum(value * (place + 1) for place, value in enumerate(seen)), due, clock=due)

    def snapshot(self) -> Any:
        return self.seen

    def restore(self, state: Any) -> None:
        self.seen = list(state)


TYPES = [Even, Twice, Later, Sums]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random graphs: fan-out, fan-in, diamonds, filters, expanders, timers, buffers of one."""
    builder = FlowBuilder(delivery="memory").node("n0", Replay)
    count = draw(st.integers(1, 6))
    for number in range(1, count + 1):
        inputs = draw(
            st.lists(st.sampled_from([f"n{i}" for i in range(number)]), min_size=1, max_size=3, unique=True)
        )
        options: dict[str, Any] = {"buffer": {"capacity": 1}} if draw(st.booleans()) else {}
        builder.node(f"n{number}", draw(st.sampled_from(TYPES)), *inputs, **options)
    inputs = draw(
        st.lists(st.sampled_from([f"n{i}" for i in range(count + 1)]), min_size=1, max_size=3, unique=True)
    )
    return builder.sink("sink", *inputs).graph()


inputs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=40)
"""Seconds since the message before, and the payload."""


async def _outputs(graph: Graph, records: list[Record], cuts: list[int], crash: int | None) -> list[Any]:
    """Run records through a flow, posted in pieces; ``crash`` is the piece after which it is killed and restored."""
    settings_ = FlowSettings(state_dir=None, checkpoint_every=0.05)  # type: ignore[arg-type]  # memory only
    storage = Storage("flow", "memory", settings_, VirtualClock(START))
    await storage.open()
    kept: dict[Any, Any] = {}
    pieces = [records[a:b] for a, b in zip([0, *cuts], [*cuts, len(records)], strict=True)]
    runner, task = await _start(graph, storage, settings_, kept)
    for number, piece in enumerate(pieces):
        if piece:
            await runner.assembly.sources["n0"].context.post(piece)
        await asyncio.sleep(0.06)
        if number == crash:
            task.cancel()
            await asyncio.wait({task})
            runner, task = await _start(graph, storage, settings_, kept)
    replay = runner.assembly.sources["n0"].node
    assert isinstance(replay, Replay)
    replay.end.set()
    await asyncio.sleep(1)
    runner.stop(1.0)
    await task
    assert runner.ledger.balance == 0
    assert runner.ledger.held == 0
    await storage.close()
    return [kept[key] for key in sorted(kept)]


async def _start(graph: Graph, storage: Storage, settings_: FlowSettings, kept: dict[Any, Any]) -> Any:
    runner = FlowRunner(graph, storage, settings_, VirtualClock(START), RecordingLog())
    sink = runner.assembly.sinks["sink"].node
    assert isinstance(sink, Keep)
    counts: dict[Any, int] = {}

    async def write(batch: Any) -> None:
        for message in batch:
            origin = (message.clock, message.seq)
            counts[origin] = counts.get(origin, 0) + 1
            # The place of a message in the order is its identity: a replay must write the same there.
            kept.setdefault((*origin, counts[origin]), (message.topic, message.payload, message.time))

    sink.write = write  # type: ignore[method-assign]
    task = asyncio.create_task(runner.run())
    await runner.ready.wait()
    return runner, task


@settings(max_examples=120, deadline=None)
@given(graph=graphs(), steps=inputs, data=st.data())
def test_output_does_not_depend_on_batches_pauses_or_crashes(
    graph: Graph, steps: Any, data: st.DataObject
) -> None:
    clock, records = START, []
    for wait, value in steps:
        clock += wait * NANOSECONDS
        records.append(Record(str(value).encode(), "t", clock, clock=clock))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=4)))
    crash = data.draw(st.one_of(st.none(), st.integers(0, len(cuts))))

    whole = run_virtual(_outputs(graph, records, [], None))
    pieces = run_virtual(_outputs(graph, records, cuts, crash))

    assert whole == pieces


FLOWS = 200
"""Random flows of real node types, each run twice."""
SHARES = 6

type Written = dict[str, list[list[Message]]]
"""By sink, what each start of the flow has written, in order."""


class Play:
    """Runs one flow over records of its sources, as a whole or disturbed at random."""

    def __init__(self, graph: Graph, records: Sequence[tuple[str, Record]], random: Random | None) -> None:
        self._graph = graph
        self._records = records
        self._random = random
        every = 1000.0 if random is None else random.choice((0.05, 0.3, 2.0))
        self._settings = FlowSettings(state_dir=Path("unused"), checkpoint_every=every)
        self._storage = KeptStorage(graph.name, "memory", self._settings, VirtualClock(START))
        self._written: Written = {}
        self._flow: Flow
        self._task: asyncio.Task[None]

    async def run(self) -> Written:
        """Return what was written when everything has come to its end."""
        await self._start()
        for piece in self._pieces():
            await self._post(piece)
            await self._disturb()
        for source in self._flow.runner.assembly.sources.values():
            assert isinstance(source.node, Replay)
            source.node.end.set()
        while not self._flow.runner.finished:
            await asyncio.sleep(1)
        self._flow.stop(5.0)
        await self._task
        self._keep_written()
        await self._storage.discard()
        return self._written

    def _pieces(self) -> Iterable[Sequence[tuple[str, Record]]]:
        count, random = len(self._records), self._random
        cuts = [] if random is None else sorted(random.randint(0, count) for _ in range(random.randint(0, 6)))
        return [self._records[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]

    async def _post(self, piece: Sequence[tuple[str, Record]]) -> None:
        sources = self._flow.runner.assembly.sources
        for name, record in piece:
            sources[name].context.post([record])

    async def _disturb(self) -> None:
        if (random := self._random) is None:
            return
        await asyncio.sleep(random.choice((0.0, 0.001, 0.06, 3.0)))
        match random.choice(("nothing", "crash", "reload")):
            case "reload":
                await self._flow.replace(self._graph)
            case "crash":
                self._task.cancel()
                await asyncio.wait({self._task})
                self._keep_written()
                await self._start()

    async def _start(self) -> None:
        self._flow = Flow(self._graph, self._settings, VirtualClock(START), RecordingLog(), self._storage)
        self._task = asyncio.create_task(self._flow.run())
        await self._flow.runner.ready.wait()

    def _keep_written(self) -> None:
        for name, sink in self._flow.runner.assembly.sinks.items():
            assert isinstance(sink.node, Unruly)
            self._written.setdefault(name, []).append(sink.node.kept)


async def _play(graph: Graph, records: Sequence[tuple[str, Record]], random: Random | None) -> Written:
    return await Play(graph, records, random).run()


def _check(whole: Sequence[Message], starts: Sequence[Sequence[Message]]) -> None:
    """Check that each start has written a piece of ``whole``, in its order, and that none of it is missing."""
    upto = 0
    for number, kept in enumerate(starts):
        last = number == len(starts) - 1
        begins = [len(whole) - len(kept)] if last else range(upto, -1, -1)
        found = [begin for begin in begins if list(whole[begin : begin + len(kept)]) == list(kept)]
        assert found, (number, kept, whole)
        assert found[0] <= upto
        upto = max(upto, found[0] + len(kept))
    assert upto == len(whole)


@pytest.mark.parametrize("share", range(SHARES))
def test_each_sink_gets_the_same_in_the_same_order_whatever_happens_meanwhile(
    share: int, tmp_path: Path
) -> None:
    with registered(replay=Replay, unruly=Unruly):
        for seed in range(share, FLOWS, SHARES):
            random = Random(seed)
            text = random_flow(random, source="replay", rough=False)
            graph = load(tmp_path, text)
            sources = [name for name, node in graph.nodes.items() if node.type.kind == "source"]
            records = random_records(random, random.choice((3, 30, 120)), clock=START)
            sent = [(random.choice(sources), record) for record in records]
            try:
                (whole, disturbed) = (run_virtual(_play(graph, sent, how)) for how in (None, random))
                for name, (kept,) in whole.items():
                    _check(kept, disturbed[name])
            except BaseException as error:
                error.add_note(f"seed {seed}, flow:\n{text}")
                raise
