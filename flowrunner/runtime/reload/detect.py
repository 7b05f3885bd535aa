"""See that flow files, or files that they name, have changed.

The truth is a hash over their content, taken every so often; what the kernel tells is only a hint to look at once.
A new content must be the same twice, so that a file is not taken up while it is being written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from watchfiles import awatch

from flowrunner.config.snapshot import Snapshot, read_snapshot
from flowrunner.context import Logger

HINTS_PAUSE = 5.0
"""Seconds between two attempts to watch directories that cannot be watched."""
SETTLE = 0.15
"""Seconds in which the content must not change."""


class Detector:
    """Knows the content that was taken up last, and finds another."""

    def __init__(self, paths: Sequence[Path], log: Logger) -> None:
        self.named: list[Path] = []
        """Files that the options of the flows name, beside ``${file:…}``."""
        self.watching = False
        """Whether the kernel tells of changes; else they are found by looking."""
        self._paths = paths
        self._log = log
        self._digest: bytes | None = None
        self._wanted = asyncio.Event()

    def read(self) -> Snapshot:
        """Read all files."""
        return read_snapshot(self._paths, self.named)

    def take_up(self, snapshot: Snapshot) -> None:
        """Remember what was taken up, good or bad: it is not looked at again."""
        self._digest = snapshot.digest

    async def changed(self, *, anyway: bool = False) -> Snapshot | None:
        """Return the content when it is another one than before (or ``anyway``) and has settled."""
        seen = await asyncio.to_thread(self.read)
        if seen.digest == self._digest and not anyway:
            return None
        while True:
            await asyncio.sleep(SETTLE)
            now = await asyncio.to_thread(self.read)
            if now.digest == seen.digest:
                return now
            if not anyway:
                self._wanted.set()
                return None
            seen = now

    def look(self) -> None:
        """End the pause."""
        self._wanted.set()

    async def pause(self, seconds: float) -> None:
        """Return after a while, or when something may have changed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        self._wanted.clear()

    async def take_hints(self, pause: float) -> None:
        """Look as soon as something happens in the directories, until cancelled; without inotify the poll is enough."""
        told = False
        while True:
            folders = {path if path.is_dir() else path.parent for path in self._paths}
            try:
                self.watching = True
                async for _ in awatch(*folders, watch_filter=None, debounce=200, step=50):
                    self._wanted.set()
            except (OSError, RuntimeError) as error:
                if not told:
                    self._log.warning("files are followed by looking only", error=str(error))
                told = True
            # A directory is gone, or the kernel has no watches left: try again, as it may come back.
            self.watching = False
            await asyncio.sleep(max(pause, HINTS_PAUSE))
