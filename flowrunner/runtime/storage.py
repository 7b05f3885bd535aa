"""What outlives one version of a flow: its journal, its checkpoints and dead letters, its clock."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from flowrunner.clock import Clock, FlowClock
from flowrunner.context import Logger
from flowrunner.runtime.checkpoints.store import DEFAULT_CAPS, DiskStore, MemoryStore, Store
from flowrunner.runtime.journal import DiskJournal, Journal, MemoryJournal
from flowrunner.runtime.letters.table import Caps
from flowrunner.runtime.taps import Taps
from flowrunner.tracing.tracing import Tracing

type Delivery = Literal["journal", "memory"]

MEMORY_JOURNAL_BYTES = 64 * 2**20
"""What a flow with ``delivery: memory`` may keep back before its sources have to wait."""


class FlowSettings(msgspec.Struct, frozen=True):
    """What the operator sets for all flows."""

    state_dir: Path
    journal_max_bytes: int = 2**30
    journal_retention: float = 86_400.0
    """Seconds that processed records are kept for a replay."""
    checkpoint_every: float = 10.0
    dead_letters: Caps = DEFAULT_CAPS
    instance: str = "flowrunner"
    tracing: Tracing | None = None


class Storage:
    """The journal and store of one flow, kept open over reloads and restarts of the flow."""

    def __init__(
        self,
        flow: str,
        delivery: Delivery,
        settings: FlowSettings,
        clock: Clock,
        log: Logger | None = None,
    ) -> None:
        self.delivery = delivery
        self.clock = FlowClock(clock)
        self.damage_told = 0
        """Damaged checkpoints and files that a person has been told of."""
        self.taps = Taps()
        self.traces = None if settings.tracing is None else settings.tracing.flow(flow)
        self.outboxes: Path | None = None
        """Where the outboxes of sinks are; ``None`` when nothing outlives the process."""
        self.journal: Journal
        self.store: Store
        if delivery == "memory":
            self.journal = MemoryJournal(
                self.clock, clock, max_bytes=min(settings.journal_max_bytes, MEMORY_JOURNAL_BYTES)
            )
            self.store = MemoryStore(clock, settings.dead_letters)
            return
        folder = settings.state_dir / "flows" / flow
        self.journal = DiskJournal(
            folder / "journal",
            self.clock,
            clock,
            max_bytes=settings.journal_max_bytes,
            retention=settings.journal_retention,
            log=log,
        )
        self.outboxes = folder / "outbox"
        self.store = DiskStore(folder / "state.db", clock, settings.dead_letters)

    async def open(self) -> None:
        """Open the files, recover what a crash left."""
        await self.store.open()
        try:
            await self.journal.open()
        except BaseException:
            await self.store.close()
            raise

    async def close(self) -> None:
        """Commit what is under way and close the files."""
        await self.journal.close()
        await self.store.close()
