"""Follow the flow files: when their content changes, check it, and carry over what is valid.

The content's hash is the truth, looked at every ``RELOAD_POLL``; it must be the same twice, 150 ms apart, so that a
half-written file is not taken up. A file with a mistake leaves its flow as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from watchfiles import awatch

from flowrunner.config.files import find_files
from flowrunner.context import Logger
from flowrunner.diagnostics import Diagnostic
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.runtime.supervisor import Supervisor

HINTS_PAUSE = 5.0
"""Seconds between two attempts to watch directories that cannot be watched."""
SETTLE = 0.15
"""Seconds in which the content must not change."""


class Reloader:
    """Keeps the running flows equal to the valid flows in the files."""

    def __init__(
        self, paths: Sequence[Path], environment: Mapping[str, str], supervisor: Supervisor, log: Logger
    ) -> None:
        self.diagnostics: list[Diagnostic] = []
        """What is wrong with the files now."""
        self.results: dict[str, int] = {"applied": 0, "refused": 0, "failed": 0}
        """Reloads by result; ``refused``: a file has a mistake, ``failed``: a node could not be built."""
        self._paths = paths
        self._environment = environment
        self._supervisor = supervisor
        self._log = log
        self._digest = b""
        self._wanted = asyncio.Event()
        self._forced = False

    def load(self) -> Loaded:
        """Read and check the files, and remember what they held."""
        self._digest = content_digest(self._paths)
        loaded = load_flows(self._paths, environment=self._environment, strict_environment=True)
        self.diagnostics = loaded.diagnostics
        return loaded

    async def run(self, poll: float) -> None:
        """Look at the files every ``poll`` seconds and when the kernel hints at a change, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_hints(poll), name="file hints")
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(poll):
                        await self._wanted.wait()
                self._wanted.clear()
                await self.check()

    async def _take_hints(self, pause: float) -> None:
        """Look as soon as something happens in the directories; without inotify the poll is enough."""
        while True:
            folders = {path if path.is_dir() else path.parent for path in self._paths}
            with contextlib.suppress(OSError, RuntimeError):
                async for _ in awatch(*folders, watch_filter=None, debounce=200, step=50):
                    self._wanted.set()
            # A directory is gone, or the kernel has no watches left: try again, as it may come back.
            await asyncio.sleep(max(pause, HINTS_PAUSE))

    def want(self) -> None:
        """Load the files now, though they may be the same: a variable or a file of secrets may not."""
        self._forced = True
        self._wanted.set()

    async def check(self) -> None:
        """Carry over a change of the files, if there is one and it has settled."""
        forced, self._forced = self._forced, False
        seen = await asyncio.to_thread(content_digest, self._paths)
        if seen == self._digest and not forced:
            return
        await asyncio.sleep(SETTLE)
        if await asyncio.to_thread(content_digest, self._paths) == seen:
            await self.apply(await asyncio.to_thread(self.load))

    async def apply(self, loaded: Loaded) -> None:
        """Start, replace and remove flows so that what is valid runs."""
        for found in loaded.diagnostics:
            if found.severity == "error":
                self._count("refused", f"{found.file}:{found.line}:{found.column}: {found.message}")
        for name, flow in list(self._supervisor.flows.items()):
            if name not in loaded.graphs and not _in_doubt(flow.graph.file, loaded):
                await self._supervisor.remove(name)
                self._count("applied")
        for name in self._supervisor.refused.keys() - loaded.graphs.keys():
            del self._supervisor.refused[name]
        for name, graph in loaded.graphs.items():
            running = self._supervisor.flows.get(name)
            if running is not None and running.graph.digest == graph.digest:
                continue
            try:
                if running is None:
                    self._supervisor.add(graph)
                else:
                    await self._supervisor.replace(graph)
            except Exception as error:
                self._count("failed", f"{graph.file}: {type(error).__name__}: {error}")
            else:
                self._count("applied")

    def _count(self, result: str, error: str | None = None) -> None:
        self.results[result] += 1
        if error is not None:
            self._log.error("reload " + result, error=error)


def _in_doubt(file: str, loaded: Loaded) -> bool:
    """Return whether a flow that was not loaded may still be meant: it is removed only when it is surely gone."""
    errors = [found for found in loaded.diagnostics if found.severity == "error"]
    if file in loaded.texts:
        # Nothing came of its file: because of a mistake there, or in a connection that another file brings.
        return bool(errors) and all(graph.file != file for graph in loaded.graphs.values())
    missing = [Path(found.file) for found in errors if found.code == "FR060" or found.file == file]
    return any(Path(file).is_relative_to(path) for path in missing)


def content_digest(paths: Sequence[Path]) -> bytes:
    """Return a hash over the names and contents of all flow files."""
    digest = hashlib.sha256()
    for path in find_files(paths)[0]:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.digest()
