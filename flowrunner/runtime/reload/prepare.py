"""Before a flow goes over to another version: new sinks and sources are opened, and it is seen to that it can be undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from flowrunner.errors import FlowrunnerError, RetryLater
from flowrunner.graph.diff import Outcome
from flowrunner.runtime.assemble import Assembly
from flowrunner.runtime.journal import Journal
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.sources import run_connection
from flowrunner.runtime.tasks import Tasks

OPEN_SECONDS = 10.0
"""How long a node may take to open, and with ``strict`` a connection to be up."""
CLOSE_SECONDS = 5.0
READ_SECONDS = 1.0
"""How long the flow may take to read what a source has brought that is removed."""
_LOOK = 0.01


class SwapError(FlowrunnerError):
    """The flow did not go over to its new version, and goes on with the one it has."""


class Preparation:
    """What is done before the flow is halted, and how to undo it."""

    def __init__(
        self,
        old: Assembly,
        new: Assembly,
        links: Mapping[str, Outcome],
        runner_parts: tuple[Journal, Pump],
        tasks: Tasks,
        *,
        strict: bool,
    ) -> None:
        """``links`` is what becomes of each connection."""
        self.undo: list[Callable[[], Awaitable[None]]] = []
        self._old = old
        self._new = new
        self._links = links
        self._journal, self._pump = runner_parts
        self._tasks = tasks
        self._strict = strict

    async def roll_back(self) -> None:
        """Undo what was done, the last first."""
        for undo in reversed(self.undo):
            await undo()

    async def open_sinks(self) -> None:
        """Open the sinks that are new, or in the place of others that write on meanwhile."""
        for name, sink in self._new.sinks.items():
            if name not in self._new.kept_sinks and await self._opens(name, sink.prepare()):
                self.undo.append(sink.give_up)

    async def _opens(self, name: str, opening: Awaitable[None]) -> bool:
        """Open a node; return whether it is open, raise when it never will be (with ``strict``: or is not now)."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await opening
        except (RetryLater, TimeoutError) as error:
            if self._strict:
                raise SwapError(
                    f"node `{name}` cannot be opened: {str(error) or 'it takes too long'}"
                ) from error
            return False
        except Exception as error:
            raise SwapError(f"node `{name}` cannot be opened: {type(error).__name__}: {error}") from error
        return True

    async def exchange_sources(self) -> None:
        """End the sources that are gone, and open those in their place; they are run when the flow has gone over."""
        for name, source in self._old.sources.items():
            if self._new.sources.get(name) is not source:
                await self._tasks.cancel(f"source {name}", patience=CLOSE_SECONDS)
                self.undo.append(self._starter(f"source {name}", source.run))
        # What is on its way to the disk would be brought a second time by a source in their place.
        came = self._journal.last + self._journal.pending
        await _until(lambda: self._journal.last >= came or self._journal.error is not None, READ_SECONDS)
        for name, new in self._new.sources.items():
            if self._old.sources.get(name) is not new and await self._opens(name, new.prepare()):
                self.undo.append(new.give_up)
        if self._old.sources.keys() - self._new.sources.keys():
            await self._read_what_came()

    def _starter(self, name: str, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def start() -> None:
            if not self._tasks.failed:
                self._tasks.start(_coroutine(run), name)

        return start

    async def _read_what_came(self) -> None:
        """Let the running version process what its sources have brought, if it can do so soon."""
        journal, pump = self._journal, self._pump
        came = journal.last + journal.pending
        await _until(lambda: pump.position >= came, READ_SECONDS)

    async def connect(self) -> None:
        """Wait until connections that are new, or begin anew, are up."""
        for name, outcome in self._links.items():
            if outcome == "restart":
                await self._tasks.cancel(f"connection {name}")
                before = partial(run_connection, self._old.connections[name])
                self.undo.append(self._starter(f"connection {name}", before))
            if outcome in ("restart", "added"):
                self._tasks.start(run_connection(self._new.connections[name]), f"connection {name}")
                self.undo.append(partial(self._tasks.cancel, f"connection {name}"))
                await self._is_up(name)

    async def _is_up(self, name: str) -> None:
        context = self._new.connections[name].context
        await _until(lambda: context.status in ("running", "failed"), OPEN_SECONDS)
        if context.status != "running":
            raise SwapError(f"connection `{name}` is not up: {context.reason or 'it takes too long'}")


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when a condition holds, or when the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            # Both of what is waited for are sums over several parts, not events.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK)


async def _coroutine(run: Callable[[], Awaitable[None]]) -> None:
    await run()
