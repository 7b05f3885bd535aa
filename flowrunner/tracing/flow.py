"""The traces of one flow: begun where records come in, carried through the journal, found again at every node.

What is not followed costs next to nothing: one look at the newest trace for each batch.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from flowrunner.clock import Clock
from flowrunner.message import Message, Record
from flowrunner.tracecontext import TraceContext
from flowrunner.tracing.recorder import Kind, Recorder, Span
from flowrunner.tracing.sampling import Sampler
from flowrunner.tracing.trace import Kept, Trace
from flowrunner.tracing.work import Work

LIVE = 64
"""Traces that are looked for; older ones end where they are."""
KEPT = 16
"""Batches to which the results of one node may be linked, and links of one span."""
_TIMES = 64
_PARTS = 16
"""Traces in one batch that are followed."""


class FlowTraces:
    """Follows what is sampled in one flow."""

    def __init__(self, flow: str, recorder: Recorder, sampler: Sampler, clock: Clock) -> None:
        self._flow = flow
        self._recorder = recorder
        self._sampler = sampler
        self._clock = clock
        self._live: deque[Trace] = deque(maxlen=LIVE)
        self._newest = -1
        """The highest flow clock of a message that belongs to a trace."""
        self._kept: dict[str, deque[Kept]] = {}
        self._reach: Mapping[str, frozenset[str]] = {}
        self._writing: dict[str, Work] = {}

    def wire(self, wires: Iterable[tuple[str, str]]) -> None:
        """Take note of which node sends to which: a timer's results are looked for behind it only."""
        after: dict[str, set[str]] = {}
        for source, target in wires:
            after.setdefault(source, set()).add(target)
        self._reach = {source: _behind(source, after) for source in after}

    def receive(self, node: str, records: Sequence[Record]) -> tuple[Sequence[Record], Arrival | None]:
        """Decide which records on their way to the journal are followed; return them marked, and what is begun."""
        brought = [number for number, record in enumerate(records) if record.trace is not None]
        if not brought:
            return self._sample(node, records) if self._sampler.begin() else (records, None)
        marked = list(records)
        arrivals: list[tuple[Span, Span]] = []
        for number in brought:
            parent = records[number].trace
            follow = len(arrivals) < _PARTS and self._sampler.follow()
            context = None
            if follow:
                arrivals.append(self._arrival(node, 1, parent))
                context = arrivals[-1][0].context
            marked[number] = msgspec.structs.replace(records[number], trace=context)
        return marked, Arrival(arrivals, self._clock) if arrivals else None

    def _sample(self, node: str, records: Sequence[Record]) -> tuple[Sequence[Record], Arrival | None]:
        if not records:
            return records, None
        # Records that bring their own time do not lie at one moment of the flow: one of them stands for all.
        count = len(records) if records[0].clock is None else 1
        spans = self._arrival(node, count, None)
        context = msgspec.structs.replace(spans[0].context, records=count)
        first = msgspec.structs.replace(records[0], trace=context)
        return [first, *records[1:]], Arrival([spans], self._clock)

    def _arrival(self, node: str, count: int, parent: TraceContext | None) -> tuple[Span, Span]:
        now, facts = self._clock.now(), self._facts(node) | {"flowrunner.messages": count}
        receive = self._recorder.start(f"{node} receive", now, kind="consumer", parent=parent, facts=facts)
        commit = self._recorder.start(
            f"{node} journal commit", now, parent=receive.context, facts=self._facts(node)
        )
        return receive, commit

    def arrived(self, node: str, context: TraceContext, seq: int, clock: int) -> None:
        """Look for messages of a trace from now on: its first record was read from the journal."""
        self._follow(Trace(context, node, seq, seq + context.records - 1, clock, clock))

    def working(self, node: str, batch: Sequence[Message]) -> Work | None:
        """Begin the spans of a transform's work on a batch; ``None`` when nothing in it is followed."""
        if not batch or batch[0].clock > self._newest:
            return None
        return self._begin(node, batch, "process", "internal")

    def keeps(self, node: str, work: Work) -> None:
        """Take note that a node may have kept what it was given."""
        kept = self._kept.setdefault(node, deque(maxlen=KEPT))
        for _, span, messages in work.parts:
            kept.append(Kept(span.context, tuple(message.time for message in messages[:_TIMES])))

    def emitted(self, node: str, out: Sequence[Message], took: int) -> None:
        """Begin a trace for what timers have set free, linked to what it was made of; ``took`` are nanoseconds."""
        kept = self._kept.get(node)
        if not kept:
            return
        results = [message for message in out if not message.seq]
        sources = [each for each in kept if any(each.made(result) for result in results)]
        if not sources:
            return
        self._kept[node] = deque((each for each in kept if not each.over(results)), KEPT)
        if self._sampler.link():
            self._link(node, results, [each.context for each in sources], took)

    def _link(
        self, node: str, results: Sequence[Message], sources: Sequence[TraceContext], took: int
    ) -> None:
        now, facts = self._clock.now(), self._facts(node)
        span = self._recorder.start(f"{node} emit", now - took, links=sources, facts=facts)
        span.end(now, {"flowrunner.messages": len(results)})
        clocks = [result.clock for result in results]
        self._follow(Trace(span.context, node, 0, 0, min(clocks), max(clocks)))

    def writing(self, node: str, batch: Sequence[Message]) -> Work | None:
        """Begin the spans of a sink's attempt at a batch; ``None`` when nothing in it is followed."""
        self._writing.pop(node, None)
        if batch[0].clock > self._newest:
            return None
        work = self._begin(node, batch, "write", "producer")
        if work is not None:
            self._writing[node] = work
        return work

    def context_of(self, node: str, message: Message) -> TraceContext | None:
        """Return what a sink that is writing a message tells its receiver; ``None`` for one that is not followed."""
        work = self._writing.get(node)
        return None if work is None else work.context_of(message)

    def _begin(self, node: str, batch: Sequence[Message], what: str, kind: Kind) -> Work | None:
        found: list[tuple[Trace, Sequence[Message]]] = []
        for trace in self._live:
            if trace.last or node in self._reach.get(trace.origin, ()):
                messages = trace.among(batch)
                if messages and len(found) < _PARTS:
                    found.append((trace, messages))
        if not found:
            return None
        now, facts = self._clock.now(), self._facts(node) | {"flowrunner.batch": len(batch)}
        parts = [
            (
                trace,
                self._recorder.start(f"{node} {what}", now, kind=kind, parent=trace.context, facts=facts),
                messages,
            )
            for trace, messages in found
        ]
        return Work(parts, self._clock, {"flow": self._flow, "node": node})

    def _follow(self, trace: Trace) -> None:
        self._live.append(trace)
        self._newest = max(self._newest, trace.high)

    def _facts(self, node: str) -> dict[str, str | int]:
        return {"flowrunner.flow": self._flow, "flowrunner.node": node}


class Arrival:
    """Records that are followed, on their way to the journal."""

    def __init__(self, spans: Sequence[tuple[Span, Span]], clock: Clock) -> None:
        self._spans = spans
        self._clock = clock

    def committed(self, done: Future[None]) -> None:
        """End the spans when the journal has taken the records, or has not."""
        now = self._clock.now()
        error = None if done.cancelled() else done.exception()
        why = "cancelled" if done.cancelled() else type(error).__name__ if error is not None else None
        for receive, commit in self._spans:
            commit.end(now, {}, error=why)
            receive.end(now, {}, error=why)


def _behind(source: str, after: Mapping[str, set[str]]) -> frozenset[str]:
    """Return all nodes that what a node sends may come to."""
    found: set[str] = set()
    ahead = [source]
    while ahead:
        new = after.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return frozenset(found)
