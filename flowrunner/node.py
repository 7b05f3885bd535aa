"""What a node type is made of: ``Source``, ``Transform``, ``Sink``, and the options that every node has.

The life of a node: its options are validated (no I/O), the class is constructed (no I/O), ``open`` connects,
``run`` / ``on_batch`` / ``write`` work, ``close`` lets go. The engine never calls a node from two tasks at once.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from flowrunner.clock import NEVER
from flowrunner.context import Context, SourceContext
from flowrunner.errors import MessageError
from flowrunner.message import Message
from flowrunner.options import Options, Size

type WhenJournalFull = Literal["stop", "drop_oldest"]

ConnectionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="The connection to use.")]


class BufferOptions(Options):
    """The channel in front of a node."""

    capacity: Annotated[int, Field(ge=1, le=1_000_000, description="Messages the channel holds.")] = 1024
    when_full: Annotated[
        Literal["block", "drop_oldest", "drop_newest"],
        Field(description="What happens when it is full: wait, or drop and count."),
    ] = "block"


class OutboxOptions(Options):
    """Messages on disk in front of a sink: while it is down, they do not hold back the rest of the flow."""

    max_bytes: Annotated[
        Size,
        Field(
            ge=2**20,
            description="What it may take on disk; when it is full, `buffer.when_full` decides.",
            examples=["1GiB"],
        ),
    ]


class NodeOptions(Options):
    """The options that every node has; a node type's ``Config`` adds its own."""

    type: Annotated[str, Field(description="The node type.")]
    description: Annotated[str | None, Field(description="What this node is for, shown in pictures.")] = None
    enabled: Annotated[bool, Field(description="Whether the node takes part; `false` leaves it out.")] = True
    buffer: Annotated[
        BufferOptions | None, Field(description="The channel in front of the node; only with `from`.")
    ] = None
    outbox: Annotated[
        OutboxOptions | None,
        Field(description="A buffer on disk, so that a sink that is down holds nobody back; only for sinks."),
    ] = None
    on_error: Annotated[
        Literal["dead_letter", "drop", "stop"],
        Field(description="Where a message goes that fails here when the port `errors` is not wired."),
    ] = "dead_letter"


ENGINE_OPTIONS = frozenset({"description", "enabled", "buffer", "outbox", "on_error"})
"""The options that the engine reads itself, in every version of a flow: a node does not begin anew for them."""


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

    when_journal_full: ClassVar[WhenJournalFull] = "stop"
    """What the type does when the journal takes nothing: at its cap, or on a disk that cannot be written.

    ``stop``: it takes nothing more over, and whoever sends keeps it or is told. ``drop_oldest``: for what cannot be
    made to wait; it keeps a bounded number and drops the oldest, counted as ``buffer_full``.
    """

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

    state_version: ClassVar[int] = 1
    """The form of what ``snapshot`` returns: raised when it changes, while ``upgrade`` reads the older forms."""

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
                context.log.error(
                    "node failed on a message",
                    flow=context.flow,
                    node=context.node,
                    error=traceback.format_exc(),
                )
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

    @classmethod
    def state_options(cls, config: C) -> Any:
        """Return the options that a state depends on: one saved under equal ones is taken up after a change.

        The default is careful: all options. Override it where ``restore`` makes sense of a state that was saved
        under others; what is returned must have a ``repr`` that is the same for equal options.
        """
        return {name: value for name, value in config if name not in ENGINE_OPTIONS}

    def snapshot(self) -> Any:
        """Return the node's state as msgpack-able values, ``None`` for none. The engine saves timers itself.

        A state that may become large is yielded in pieces of a few hundred keys: other flows go on in between.
        """
        return None

    def restore(self, state: Any) -> None:
        """Take up a state that ``snapshot`` returned, read back from msgpack: tuples have become lists.

        Called once for each piece of a state that was yielded, in order. Whatever it raises refuses the state:
        a new node then starts empty, and what the old one held is counted as dropped.
        """
        del state

    def upgrade(self, state: Any, version: int) -> Any:
        """Return a state, or a piece of one, that ``version`` of the type has saved in the form of this version.

        Raises when it cannot be read: the state is then refused.
        """
        del state
        raise ValueError(f"a state of version {version} cannot be read, only of {self.state_version}")


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
