"""What the engine gives a node and a connection: names, log, clock, counters, timers, ports, the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from flowrunner.clock import Clock
from flowrunner.counters import Counters
from flowrunner.message import Message, Record
from flowrunner.options import Options
from flowrunner.timers import Timers
from flowrunner.tracecontext import TraceContext
from flowrunner.webhooks import WebhookHandler

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


class Tracing(Protocol):
    """What follows sampled messages through a flow."""

    def context_of(self, node: str, message: Message) -> TraceContext | None:
        """Return where a message stands that a sink is writing; ``None`` for one that is not followed."""


class Finding(msgspec.Struct, frozen=True):
    """What a check has found about one thing, in words for a person; must not contain a secret."""

    level: Literal["ok", "warning", "error"]
    what: str
    """What was looked at, in a word or two: ``login``, ``bucket home``."""
    text: str
    help: str | None = None
    """What to do about it."""


class Connection[C: Options]:
    """What several nodes of one flow share to reach a server: a client, its session and its health.

    Subclasses carry ``@connection_type("name", Config)``. ``run`` keeps the connection up until cancelled.
    """

    def __init__(self, config: C, context: ConnectionContext) -> None:
        self.config = config
        self.context = context

    async def run(self) -> None:
        """Keep the connection up until cancelled; return at once when there is nothing to keep up."""

    async def check(self, users: Sequence[Options]) -> Iterable[Finding]:
        """Look whether the server is there and lets us do what the nodes with these options want; change nothing.

        Called instead of ``run``, for `flowrunner doctor` and `validate --connect`; may be cancelled at any time.
        """
        del users
        return ()

    def forget(self, node: str) -> None:
        """Let go of what is kept for a node: a reload has removed it, and the connection goes on."""
        del node


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
        """The ports that have a wire, others after a reload; a message for any other port ends here and must be counted."""
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
        self.tracing: Tracing | None = None

    def trace(self, message: Message) -> TraceContext | None:
        """Return what a sink tells its receiver of the trace of a message it is writing; mostly nothing."""
        return None if self.tracing is None else self.tracing.context_of(self.node, message)

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
    """What the engine gives a source, in addition: the journal, and requests from outside."""

    webhook: WebhookHandler | None = None
    """What takes the requests to ``/in/FLOW/NODE``: set when the source is constructed, called while it is open."""
    cursor: Any = None
    """What the source last committed with its records, ``None`` at the very first start: where to go on."""

    def __init__(self, flow: str, node: str, **context: Any) -> None:
        super().__init__(flow, node, **context)
        self.gaps: dict[str, float] = {}
        """Seconds of which the source knows that it missed what came, by topic: exported as metrics."""

    def post(self, records: Sequence[Record], cursor: Any = None) -> Future[None]:
        """Hand records to the journal; the future is done when they are safe on disk.

        ``cursor`` (any JSON value) is committed with them, all or nothing. Never blocks; raises
        :class:`JournalFull` when the journal is at its cap, and has then taken nothing.
        """
        raise NotImplementedError

    async def emit_records(self, records: Sequence[Record], cursor: Any = None) -> None:
        """Hand records to the journal and return when they are safe; waits while the journal is full."""
        raise NotImplementedError
