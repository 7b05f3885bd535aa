"""What a node type is made of: ``Source``, ``Transform``, ``Sink``, and the context that the engine gives them.

The life of a node: its options are validated (no I/O), the class is constructed (no I/O), ``open`` connects,
``run`` / ``on_batch`` / ``write`` work, ``close`` lets go. The engine never calls a node from two tasks at once.
"""

from __future__ import annotations

import heapq
import traceback
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import msgspec
from pydantic import Field

from flowrunner.clock import NEVER, Clock
from flowrunner.errors import MessageError
from flowrunner.message import Message, Record
from flowrunner.options import Duration, Options

if TYPE_CHECKING:
    from asyncio import Future  # a tenth of the time of `flowrunner validate`

type Status = Literal["starting", "running", "degraded", "failed", "stopping", "stopped"]
"""``degraded``: it goes on by itself; ``failed``: a person must act; both come with a reason."""


class Logger(Protocol):
    """The part of a structlog logger that nodes use: an event in words and its facts as keywords."""

    def debug(self, event: str, **facts: Any) -> Any:
        """Log what only a developer wants to know."""

    def info(self, event: str, **facts: Any) -> Any:
        """Log a change of state."""

    def warning(self, event: str, **facts: Any) -> Any:
        """Log what goes on by itself."""

    def error(self, event: str, **facts: Any) -> Any:
        """Log what a person must look at."""


class BufferOptions(Options):
    """The channel in front of a node."""

    capacity: Annotated[int, Field(ge=1, le=1_000_000, description="Messages the channel holds.")] = 1024
    when_full: Annotated[
        Literal["block", "drop_oldest", "drop_newest"],
        Field(description="What happens when it is full: wait, or drop and count."),
    ] = "block"


class NodeOptions(Options):
    """The options that every node has; a node type's ``Config`` adds its own."""

    type: Annotated[str, Field(description="The node type.")]
    description: Annotated[str | None, Field(description="What this node is for, shown in pictures.")] = None
    enabled: Annotated[bool, Field(description="Whether the node takes part; `false` leaves it out.")] = True
    buffer: Annotated[
        BufferOptions | None, Field(description="The channel in front of the node; only with `from`.")
    ] = None
    on_error: Annotated[
        Literal["dead_letter", "drop", "stop"],
        Field(description="Where a message goes that fails here when the port `errors` is not wired."),
    ] = "dead_letter"


class Counters:
    """What happened at one node, as plain integers that are written once a batch and read at a scrape.

    For every transform and sink, at any moment between two batches::

        received + created = filtered + aggregated + written + dead_lettered + sum(dropped) + held + sum(emitted)
    """

    __slots__ = (
        "aggregated",
        "batches",
        "busy_ns",
        "copied",
        "created",
        "dead_lettered",
        "dropped",
        "emitted",
        "errors",
        "filtered",
        "held",
        "received",
        "retries",
        "written",
    )

    def __init__(self) -> None:
        self.received = 0
        self.created = 0
        """Messages the node made beyond the ones it received: window results, elements of a split."""
        self.copied = 0
        """Copies that the engine made for the second and further wires of a port; not part of the identity."""
        self.filtered = 0
        self.aggregated = 0
        """Messages whose last window has closed."""
        self.written = 0
        self.dead_lettered = 0
        self.errors = 0
        """Messages that failed here, wherever they went then."""
        self.held = 0
        """Messages the node keeps for later: in open windows, throttles, delays."""
        self.dropped: dict[str, int] = {}
        self.emitted: dict[str, int] = {}
        self.retries = 0
        self.batches = 0
        self.busy_ns = 0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count ``count`` messages as dropped for ``reason`` (a fixed word of the node type, never data)."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def balance(self) -> int:
        """Return received + created less every end and every emission: 0 when nothing is lost or doubled."""
        ends = self.filtered + self.aggregated + self.written + self.dead_lettered + self.held
        return self.received + self.created - ends - sum(self.dropped.values()) - sum(self.emitted.values())


class Timers:
    """The timers of one transform, on the flow clock. Part of the node's checkpoint."""

    __slots__ = ("_count", "_due_of", "_heap", "due")

    def __init__(self) -> None:
        self._count = 0
        self._heap: list[tuple[int, int, Hashable]] = []
        self._due_of: dict[Hashable, tuple[int, int]] = {}
        self.due = NEVER
        """The earliest time at which a timer is due, ``NEVER`` when none is set."""

    def set(self, key: Hashable, due: int, *, now: int) -> None:
        """Call ``on_timer(key, due)`` when the flow clock reaches ``due``; replaces the timer of that key.

        ``key`` is a string, an integer or a tuple of these. ``now`` is the ``clock`` of the message (or the
        ``due`` of the timer) being processed: a timer is always later than the moment that set it.
        """
        due = max(due, now + 1)
        self._count = order = self._count + 1
        self._due_of[key] = (due, order)
        heapq.heappush(self._heap, (due, order, key))
        self._settle()

    def cancel(self, key: Hashable) -> None:
        """Forget the timer of ``key``, if there is one."""
        if self._due_of.pop(key, None) is not None:
            self._settle()

    def pop(self, clock: int) -> tuple[Hashable, int] | None:
        """Remove the earliest timer due at or before ``clock`` and return its key and due time."""
        if self.due > clock:
            return None
        due, _, key = heapq.heappop(self._heap)
        del self._due_of[key]
        self._settle()
        return key, due

    def __len__(self) -> int:
        return len(self._due_of)

    def snapshot(self) -> list[list[Any]]:
        """Return ``[[due, key], …]`` in the order in which the timers will fire."""
        return [[due, key] for key, (due, _) in sorted(self._due_of.items(), key=lambda item: item[1])]

    def restore(self, saved: Iterable[Sequence[Any]]) -> None:
        """Take up the timers of a snapshot in place of the present ones."""
        self.__init__()  # type: ignore[misc]  # back to the state of a new object
        for due, key in saved:
            self.set(tuple(key) if isinstance(key, list) else key, due, now=due - 1)

    def _settle(self) -> None:
        heap, due_of = self._heap, self._due_of
        while heap and due_of.get(heap[0][2]) != heap[0][:2]:
            heapq.heappop(heap)
        self.due = heap[0][0] if heap else NEVER


class Connection[C: Options]:
    """What several nodes of one flow share to reach a server: a client, its session and its health.

    Subclasses carry ``@connection_type("name", Config)``. ``run`` keeps the connection up until cancelled.
    """

    def __init__(self, config: C, context: ConnectionContext) -> None:
        self.config = config
        self.context = context

    async def run(self) -> None:
        """Keep the connection up until cancelled; return at once when there is nothing to keep up."""


class ConnectionContext:
    """What the engine gives a connection."""

    def __init__(self, flow: str, name: str, clock: Clock, log: Logger, instance: str = "flowrunner") -> None:
        self.flow = flow
        self.name = name
        self.clock = clock
        self.log = log
        self.instance = instance
        """A name of this installation that survives restarts: what stable client ids begin with."""
        self.up = False
        self.reconnects = 0
        self.counts: Counter[str] = Counter()
        """What happened to the connection that is worth knowing, by a fixed word of its type: exported as metrics."""
        self.status: Status = "starting"
        self.reason: str | None = None

    def report(self, status: Status, reason: str | None = None) -> None:
        """Say how the connection is; ``running`` means up."""
        if (status, reason) != (self.status, self.reason):
            level = self.log.info if status in ("running", "starting", "stopped") else self.log.warning
            level("connection is " + status, connection=self.name, flow=self.flow, reason=reason)
        self.status, self.reason, self.up = status, reason, status == "running"


class Context:
    """What the engine gives a node: its names, counters, timers, ports and the way to fail a message."""

    def __init__(
        self,
        flow: str,
        node: str,
        *,
        log: Logger,
        clock: Clock,
        wired: frozenset[str] = frozenset({"out"}),
        connection: Connection[Any] | None = None,
    ) -> None:
        self.flow = flow
        self.node = node
        self.log = log
        self.clock = clock
        """The machine's clock: for sources, sinks and connections. Transforms use ``message.clock`` only."""
        self.wired = wired
        """The ports that have a wire; a message for any other port ends here and must be counted."""
        self.connection = connection
        self.counters = Counters()
        self.timers = Timers()
        self.ports: dict[str, list[Message]] = {}
        """Messages for other ports than ``out``, in order; taken by the engine after each batch."""
        self.failures: list[tuple[Message, str]] = []
        """Messages that failed and why, in order; taken by the engine after each batch."""
        self.sent = 0
        """How many messages were given to ``emit`` so far."""
        self.status: Status = "starting"
        self.reason: str | None = None

    def emit(self, message: Message, port: str) -> None:
        """Send a message to a wired port other than ``out``."""
        self.sent += 1
        if port in self.ports:
            self.ports[port].append(message)
        else:
            self.ports[port] = [message]

    def fail(self, message: Message, reason: str) -> None:
        """End a message that cannot be processed: to ``errors`` if wired, else as ``on_error`` says."""
        self.failures.append((message, reason))

    def report(self, status: Status, reason: str | None = None) -> None:
        """Say how the node is; shown in ``/readyz`` and on the page, logged when it changes."""
        if (status, reason) != (self.status, self.reason):
            level = self.log.warning if status in ("degraded", "failed") else self.log.info
            level("node is " + status, flow=self.flow, node=self.node, reason=reason)
        self.status, self.reason = status, reason


class SourceContext(Context):
    """What the engine gives a source, in addition: the journal."""

    cursor: Any = None
    """What the source last committed with its records, ``None`` at the very first start: where to go on."""

    def post(self, records: Sequence[Record], cursor: Any = None) -> Future[None]:
        """Hand records to the journal; the future is done when they are safe on disk.

        ``cursor`` (any JSON value) is committed with them, all or nothing. Never blocks; raises
        :class:`JournalFull` when the journal is at its cap, and has then taken nothing.
        """
        raise NotImplementedError

    async def emit_records(self, records: Sequence[Record], cursor: Any = None) -> None:
        """Hand records to the journal and return when they are safe; waits while the journal is full."""
        raise NotImplementedError


class Node[C: NodeOptions]:
    """Base of all nodes: stores its options and context, and does no I/O in its constructor."""

    Config: ClassVar[type[NodeOptions]]

    def __init__(self, config: C, context: Context) -> None:
        self.config = config
        self.context = context

    @classmethod
    def ports(cls, config: C) -> tuple[str, ...]:
        """Return the output ports beside ``errors`` for these options; ``out`` unless a type says otherwise."""
        del config
        return ("out",)

    async def open(self) -> None:
        """Connect, prepare; called once before the first message, again after a crash."""

    async def close(self) -> None:
        """Let go of everything that ``open`` took."""


class Source[C: NodeOptions](Node[C]):
    """A node that brings messages in. Everything it hands over is journaled before it counts as received."""

    context: SourceContext

    drives_clock: bool = False
    """Whether its records carry the flow clock (:attr:`Record.clock`), as when a file of last year is read.

    The engine then does not let the wall clock move the flow clock until the source has finished.
    """

    async def run(self) -> None:
        """Bring in records until cancelled; return when there will be no more."""
        raise NotImplementedError

    def decode(self, data: bytes) -> Any:
        """Return the payload of a record. Pure: called again when the journal is replayed.

        Raises :class:`MessageError` for data that cannot be read. The default reads JSON.
        """
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise MessageError(f"the data is not JSON: {error}") from None


class Transform[C: NodeOptions](Node[C]):
    """A node between others: a pure function of its messages, its own state and its timers.

    Override ``on_message``; a type for which every nanosecond counts overrides ``on_batch`` instead and then
    does all of its own counting.
    """

    def on_message(self, message: Message) -> Iterable[Message] | None:
        """Return what becomes of one message; nothing means that it was filtered out.

        A node that keeps the message for later adds one to ``counters.held`` and undoes that when it lets go.
        """
        raise NotImplementedError

    def on_timer(self, key: Any, due: int) -> Iterable[Message] | None:
        """Return what a timer sets free. Emit with ``clock=due``; count what is let go or created."""
        del key, due
        return None

    def on_batch(self, batch: Sequence[Message]) -> list[Message]:
        """Return the messages for ``out``, in order. Timers that fall due within the batch fire in between."""
        out: list[Message] = []
        context = self.context
        counters, timers = context.counters, context.timers
        for message in batch:
            if message.clock >= timers.due:
                self.advance(message.clock, out)
            held, failed, sent = counters.held, len(context.failures), context.sent
            try:
                results = list(self.on_message(message) or ())
            except MessageError as error:
                results = []
                context.fail(message, str(error))
            except Exception as error:
                results = []
                context.log.error("node failed on a message", node=context.node, error=traceback.format_exc())
                context.fail(message, f"{type(error).__name__} in node type: {error}")
            out += results
            ends = counters.held - held + len(context.failures) - failed + context.sent - sent
            surplus = len(results) + ends - 1
            if surplus > 0:
                counters.created += surplus
            elif surplus < 0:
                counters.filtered -= surplus
        return out

    def advance(self, clock: int, out: list[Message], limit: int = NEVER) -> bool:
        """Fire the timers due at or before ``clock``, at most about ``limit`` messages at a time.

        Returns whether all have fired. Timers that set nothing free count as well: they take time too.
        """
        timers, fired = self.context.timers, 0
        while timers.due <= clock:
            if len(out) >= limit or fired >= limit:
                return False
            fired += 1
            popped = timers.pop(clock)
            if popped is not None:
                out += self.on_timer(*popped) or ()
        return True

    def snapshot(self) -> Any:
        """Return the node's state as msgpack-able values (timers are saved by the engine)."""
        return None

    def restore(self, state: Any) -> None:
        """Take up a state that ``snapshot`` returned, read back from msgpack: tuples have become lists."""
        del state


class Limits(msgspec.Struct, frozen=True):
    """How many messages a sink wants at once and how long (seconds) it is worth waiting for more."""

    max_messages: int = 1000
    max_age: float = 0.0


class Sink[C: NodeOptions](Node[C]):
    """A node that hands messages to the world."""

    def limits(self) -> Limits:
        """Return how the engine should gather messages into batches."""
        return Limits()

    def show(self, message: Message) -> str:
        """Return what is written for a message, as one line for people to read."""
        return msgspec.json.encode(message.payload, enc_hook=str).decode()

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when the world has accepted every message that was not given to ``context.fail``.

        Raises :class:`RetryLater` when it does not accept now. Never holds a message in a buffer of its own.
        Messages that the sink leaves out on purpose are counted with ``counters.drop(reason)``.
        """
        raise NotImplementedError


ConnectionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="The connection to use.")]
__all__ = [
    "BufferOptions",
    "Connection",
    "ConnectionContext",
    "ConnectionName",
    "Context",
    "Counters",
    "Duration",
    "Limits",
    "Logger",
    "Node",
    "NodeOptions",
    "Sink",
    "Source",
    "SourceContext",
    "Status",
    "Timers",
    "Transform",
]
