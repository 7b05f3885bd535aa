"""Traces within a flow: what is followed, how far, and what it must not change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowrunner import Message, Record, RetryLater, TraceContext
from flowrunner.graph.build import Graph
from flowrunner.runtime.channel import merge
from flowrunner.runtime.journal.entry import Entry
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.tracing.flow import KEPT, LIVE, FlowTraces
from flowrunner.tracing.sampling import Sampler, Sampling
from flowrunner_nodes.aggregate import Aggregate
from flowrunner_nodes.debounce import Debounce
from flowrunner_nodes.filter import Filter
from flowrunner_nodes.map import Map
from tests.nodes.harness import SetClock
from tests.runtime.flows import START, FlowBuilder, Running, record, running
from tests.tracing.recording import KeptSpan, Recording

ALL = Sampling(share=1.0, per_second=1000, followed_per_second=1000)
NONE = Sampling(share=0.0, per_second=1000, followed_per_second=1000)
SENDER = TraceContext("a" * 32, "b" * 16, "vendor=1")


class Traced:
    """A flow that runs, and the spans that it records."""

    def __init__(self, running: Running, recording: Recording) -> None:
        self.flow = running
        self.recording = recording

    def span(self, name: str) -> KeptSpan:
        found = self.recording.named(name)
        assert 1 == len(found), self.recording.names
        return found[0]

    async def spans(self, name: str, count: int) -> None:
        """Return when there are so many spans of a name."""
        await self.until(lambda: len(self.recording.named(name)) >= count)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def traced(graph: Graph, sampling: Sampling = ALL, folder: Path | None = None) -> AsyncIterator[Traced]:
    recording, clock = Recording(), SetClock()
    settings = FlowSettings(state_dir=folder or Path("unused"))
    storage = Storage(graph.name, graph.delivery, settings, clock)
    storage.traces = FlowTraces(graph.name, recording, Sampler(sampling, clock), clock)
    await storage.open()
    try:
        async with running(graph, storage=storage, clock=clock) as flow:
            yield Traced(flow, recording)
    finally:
        await storage.close()


def chain() -> Graph:
    return (
        FlowBuilder()
        .source("feed")
        .node("warm", Filter, "feed", where="payload > 10")
        .node("shape", Map, "warm", set={"payload": "={'t': payload}"})
        .sink("out", "shape")
        .graph()
    )


async def test_a_batch_is_followed_from_its_source_to_the_acknowledgement() -> None:
    async with traced(chain()) as it:
        await it.flow.feed("feed", record(20), record(5), record(30))
        await it.until(lambda: it.flow.payloads("out"))

    assert ["feed receive", "feed journal commit", "warm process", "shape process", "out write"] == (
        it.recording.names
    )
    root = it.span("feed receive")
    assert root.parent_id is None
    assert {root.context.span_id} == {span.parent_id for span in it.recording.spans[1:]}
    assert [3, 3, 2, 2] == [
        it.span(name).facts["flowrunner.messages"]
        for name in ("feed receive", "warm process", "shape process", "out write")
    ]
    assert ["consumer", "internal", "internal", "internal", "producer"] == [
        span.told["kind"] for span in it.recording.spans
    ]
    assert all(len(span.ends) == 1 and span.error is None for span in it.recording.spans)


async def test_a_trace_ends_where_its_last_message_ends() -> None:
    async with traced(chain()) as it:
        await it.flow.feed("feed", record(5))
        await it.flow.feed("feed", record(50))
        await it.until(lambda: it.flow.payloads("out"))

    spans = it.recording.named("shape process") + it.recording.named("out write")
    second = it.recording.named("feed receive")[1].context.trace_id
    assert [second, second] == [span.context.trace_id for span in spans]


async def test_every_record_that_brings_a_context_is_followed_in_its_own_trace() -> None:
    other = TraceContext("c" * 32, "d" * 16)
    records = [record(20), *(msgspec.structs.replace(record(30), trace=each) for each in (SENDER, other))]
    async with traced(chain(), NONE) as it:
        await it.flow.feed("feed", *records)
        await it.until(lambda: it.flow.payloads("out"))

    assert [(SENDER.trace_id, SENDER.span_id, "vendor=1"), (other.trace_id, other.span_id, "")] == [
        (span.context.trace_id, span.parent_id, span.context.tracestate)
        for span in it.recording.named("feed receive")
    ]
    assert [(SENDER.trace_id, 1), (other.trace_id, 1)] == [
        (span.context.trace_id, span.facts["flowrunner.messages"]) for span in it.recording.named("out write")
    ]


async def test_a_sink_is_told_what_to_tell_and_only_while_it_writes() -> None:
    async with traced(chain(), NONE) as it:
        sink, told = it.flow.sink("out"), list[TraceContext | None]()
        write = sink.write

        async def tell(batch: Sequence[Message]) -> None:
            told.extend(sink.context.trace(message) for message in batch)
            await write(batch)

        sink.write = tell  # type: ignore[method-assign]
        await it.flow.feed("feed", record(20), msgspec.structs.replace(record(30), trace=SENDER))
        await it.flow.feed("feed", record(40))
        await it.until(lambda: len(told) == 3)

    assert [None, it.span("out write").context, None] == told


async def test_what_is_not_sampled_is_recorded_and_carried_nowhere() -> None:
    async with traced(chain(), Sampling(share=0.0, follow=False)) as it:
        await it.flow.feed("feed", record(20), msgspec.structs.replace(record(30), trace=SENDER))
        await it.until(lambda: it.flow.payloads("out"))
        entries = await it.flow.runner.journal.read(0)

    assert [] == it.recording.spans
    assert [None, None] == [entry.trace for entry in entries]


async def test_a_failed_attempt_says_why_and_the_next_one_is_a_span_of_its_own() -> None:
    async with traced(chain()) as it:
        it.flow.sink("out").refuse = [RetryLater("503: busy", after=0.01)]
        await it.flow.feed("feed", record(20))
        await it.until(lambda: it.flow.payloads("out"))

    assert ["503: busy", None] == [span.error for span in it.recording.named("out write")]


def test_a_node_that_crashes_ends_its_span() -> None:
    traces, recording = flow_traces()
    traces.arrived("feed", SENDER, 1, START)
    work = traces.working("bad", [Message("t", 0, START, {}, START, 1)])
    assert work is not None
    with pytest.raises(KeyError), work:
        raise KeyError(1)

    assert "KeyError" == recording.named("bad process")[0].error


def windows() -> Graph:
    return (
        FlowBuilder()
        .source("feed")
        .node(
            "mean",
            Aggregate,
            "feed",
            window={"type": "tumbling", "size": "1m"},
            fields={"mean": "mean(payload)"},
        )
        .node("other", Debounce, "feed", quiet="1m")
        .sink("out", "mean")
        .sink("beside", "other")
        .graph()
    )


async def test_the_result_of_a_window_is_linked_to_what_it_was_made_of() -> None:
    async with traced(windows()) as it:
        clock = it.flow.runner._clock
        assert isinstance(clock, SetClock)
        for value, seconds in ((1, 10), (2, 20), (9, 70)):
            clock.time = START + seconds * 10**9
            await it.flow.feed("feed", record(value))
            await it.spans("mean process", min(value, 3))
        await it.until(lambda: it.flow.payloads("out"))

    emit = it.span("mean emit")
    assert [span.context.span_id for span in it.recording.named("mean process")[:2]] == emit.links
    assert (None, 1) == (emit.parent_id, emit.facts["flowrunner.messages"])
    out = it.span("out write")
    assert (emit.context.trace_id, emit.context.span_id) == (out.context.trace_id, out.parent_id)
    assert [] == it.recording.named("beside write")


def kept_up(traces: FlowTraces, number: int) -> Message:
    """Follow a message up to a node that keeps it, and return it."""
    traces.arrived("feed", TraceContext(f"{number:032x}", f"{number:016x}"), number, START + number)
    message = Message("t", number, START + number, {}, START + number, number)
    work = traces.working("hold", [message])
    assert work is not None
    with work:
        pass
    traces.keeps("hold", work)
    return message


def flow_traces(sampling: Sampling = ALL) -> tuple[FlowTraces, Recording]:
    recording, clock = Recording(), SetClock()
    return FlowTraces("flow", recording, Sampler(sampling, clock), clock), recording


def test_links_and_traces_are_bounded() -> None:
    traces, recording = flow_traces()
    for number in range(1, 1001):
        kept_up(traces, number)
    window = {"window_start": START, "window_end": START + 2000}
    traces.emitted("hold", [Message("t", 0, START, window, START + 2000)], 5)

    emit = recording.named("hold emit")[0]
    assert KEPT == len(emit.links)
    assert LIVE == len(traces._live)
    assert (5, {"hold"}) == (emit.ends[0][0] - emit.start, set(traces._kept))


def test_a_message_that_was_only_delayed_is_linked_once() -> None:
    traces, recording = flow_traces()
    first, second = kept_up(traces, 1), kept_up(traces, 2)
    for message in (second, second, first):
        traces.emitted("hold", [Message("t", 0, message.time, {}, START + 100)], 0)

    assert [[f"{2:016x}"], [f"{1:016x}"]] == [
        [recording.spans[int(link, 16) - 1].told["parent"].span_id for link in span.links]
        for span in recording.named("hold emit")
    ]


def test_results_begin_no_more_traces_than_the_budget_has() -> None:
    traces, recording = flow_traces(Sampling(followed_per_second=1))
    for number in (1, 2, 3):
        message = kept_up(traces, number)
        traces.emitted("hold", [Message("t", 0, message.time, {}, START + 100)], 0)

    assert 1 == len(recording.named("hold emit"))


def test_a_batch_with_many_traces_is_followed_in_some_of_them() -> None:
    traces, recording = flow_traces()
    batch = []
    for number in range(1, 41):
        traces.arrived("feed", TraceContext(f"{number:032x}", "b" * 16), number, START)
        batch.append(Message("t", 0, START, {}, START, number))
    work = traces.writing("out", batch)

    assert work is not None
    assert 16 == len(recording.spans)
    assert traces.context_of("out", batch[0]) == recording.spans[0].context
    assert traces.context_of("out", batch[39]) is None


def test_records_that_bring_their_own_time_are_followed_by_one_of_them() -> None:
    traces, recording = flow_traces()
    marked, arrival = traces.receive("file", [Record(b"1", clock=START), Record(b"2", clock=START + 5)])

    assert arrival is not None
    assert [1, None] == [None if each.trace is None else each.trace.records for each in marked]
    assert 1 == recording.spans[0].told["facts"]["flowrunner.messages"]


def test_an_empty_batch_begins_nothing() -> None:
    traces, recording = flow_traces()

    assert ([], None) == traces.receive("feed", [])
    assert [] == recording.spans


@pytest.mark.parametrize(
    ("outcome", "error"), [(None, None), (OSError(28, "full"), "OSError"), ("", "cancelled")]
)
async def test_the_way_into_the_journal_ends_as_it_went(outcome: Any, error: str | None) -> None:
    traces, recording = flow_traces()
    _, arrival = traces.receive("feed", [record(1)])
    assert arrival is not None
    done = asyncio.get_running_loop().create_future()
    if isinstance(outcome, OSError):
        done.set_exception(outcome)
    elif outcome is None:
        done.set_result(None)
    else:
        done.cancel()
    arrival.committed(done)

    assert [error, error] == [span.error for span in recording.spans]


async def test_a_trace_lies_in_the_journal_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    graph = FlowBuilder(delivery="journal").source("feed").sink("out", "feed").graph()
    settings = FlowSettings(state_dir=tmp_path)
    storage = Storage(graph.name, graph.delivery, settings, SetClock())
    await storage.open()
    await storage.journal.append("feed", [msgspec.structs.replace(record(1), trace=SENDER), record(2)])
    await storage.close()
    async with traced(graph, NONE, tmp_path) as it:
        await it.until(lambda: len(it.flow.payloads("out")) == 2)

    write = it.span("out write")
    assert (SENDER.trace_id, SENDER.span_id, 1) == (
        write.context.trace_id,
        write.parent_id,
        write.facts["flowrunner.messages"],
    )


async def test_messages_are_the_same_whether_they_are_followed_or_not() -> None:
    kept = []
    for sampling in (ALL, NONE):
        async with traced(windows(), sampling) as it:
            await it.flow.feed("feed", record(1), record(2, at=90))
            it.flow.runner._clock.time += 600 * 10**9  # type: ignore[attr-defined]
            await it.flow.feed("feed", record(3, at=300))
            await it.until(lambda: len(it.flow.payloads("out")) == 2)
        kept.append(it.flow.sink("out").kept)

    assert kept[0] == kept[1]


def test_entries_of_a_journal_that_knew_no_traces_are_read() -> None:
    old = msgspec.msgpack.encode([1, START, "feed", b"1", "t", START, None])

    assert Entry(1, START, "feed", b"1", "t", START, None) == msgspec.msgpack.decode(old, type=Entry)


def test_a_version_that_knows_no_traces_reads_the_entries() -> None:
    class Former(msgspec.Struct, array_like=True):
        seq: int
        clock: int

    data = msgspec.msgpack.encode(Entry(1, START, "feed", b"1", "t", START, None, SENDER))
    former = msgspec.msgpack.decode(data, type=Former)
    assert (1, START) == (former.seq, former.clock)


def test_messages_of_a_trace_are_found_wherever_others_stand() -> None:
    traces, _ = flow_traces()
    traces.arrived("feed", TraceContext("a" * 32, "b" * 16, records=3), 5, START + 50)
    others = [
        Message("t", 0, 0, {}, START + clock, seq) for clock, seq in ((10, 1), (50, 4), (50, 8), (90, 9))
    ]
    ours = [Message("t", 0, 0, {}, START + 50, seq) for seq in (5, 6, 7)]
    work = traces.working("any", merge([others, ours]))

    assert work is not None
    assert ours == list(work.parts[0][2])
    assert traces.working("any", [Message("t", 0, 0, {}, START + 90, 9)]) is None
    assert traces.working("any", []) is None
