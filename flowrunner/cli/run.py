"""``flowrunner run``: start the flows, serve HTTP, follow the files, and end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from flowrunner import log as logging
from flowrunner.admin.app import create_app
from flowrunner.admin.guard import is_loopback
from flowrunner.admin.process import Process, trouble
from flowrunner.admin.server import listen, serve
from flowrunner.catalog.address import address
from flowrunner.catalog.catalog import Catalog
from flowrunner.cli.exits import EX_CONFIG, EX_USAGE, complain
from flowrunner.cli.mode import Mode
from flowrunner.clock import Clock, SystemClock
from flowrunner.context import Logger
from flowrunner.diagnostics import render_text
from flowrunner.graph.load import Loaded
from flowrunner.message import NANOSECONDS
from flowrunner.runtime.letters.table import Caps
from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow, Supervisor
from flowrunner.settings import Settings
from flowrunner.tracing.tracing import Tracing, start_tracing

START_SECONDS = 30.0
"""How long flows may take to start, where somebody waits for it."""
DRAIN_SHARE = 0.8
"""What the flows get of the grace; the rest is for closing files and answering the last requests."""


def run(
    paths: Sequence[Path],
    given: Mapping[str, Any],
    *,
    mode: Mode | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> int:
    """Run flows until SIGTERM or SIGINT, or as ``mode`` says; return the exit code.

    ``given`` are settings from the command line; they win over the environment. ``beside`` makes what is to run in
    the same loop, from before the flows start until they have ended.
    """
    try:
        settings = Settings(**given)
    except ValidationError as error:
        return max(_complain_of(problem) for problem in error.errors(include_url=False, include_input=False))
    clock = SystemClock()
    logger = logging.configure(clock, settings.log_format, settings.log_level)
    with contextlib.ExitStack() as taken:
        try:
            taken.enter_context(_lock(settings.state_dir))
            listening = taken.enter_context(listen(settings.http_host, settings.http_port))
        except OSError as error:
            return complain(str(error), help="set another with --state-dir, --http-host or --http-port")
        tracing = start_tracing(
            os.environ, clock, logger, version=version("flowrunner-engine"), instance=settings.instance
        )
        if tracing is not None:
            taken.callback(tracing.close)
        running = Running(paths, settings, clock, logger, mode or Mode(), tracing)
        return asyncio.run(running.main(listening, beside))


class Running:
    """One ``flowrunner run``."""

    def __init__(
        self,
        paths: Sequence[Path],
        settings: Settings,
        clock: Clock,
        log: Logger,
        mode: Mode,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self._log = log
        self._mode = mode
        flow_settings = FlowSettings(
            state_dir=settings.state_dir,
            journal_max_bytes=settings.journal_max_bytes,
            journal_retention=settings.journal_retention,
            checkpoint_every=settings.checkpoint_every / NANOSECONDS,
            dead_letters=Caps(
                bytes=settings.dead_letters_max_bytes, retention=settings.dead_letters_retention
            ),
            instance=settings.instance,
            tracing=tracing,
        )
        self.supervisor = Supervisor(flow_settings, clock, log)
        url = settings.catalog_url
        where = address(None if url is None else url.get_secret_value(), settings.state_dir)
        self.catalog = Catalog(where, settings.instance, log)
        self.reloader = Reloader(
            paths,
            dict(os.environ),
            self.supervisor,
            log,
            strict=mode.strict_start,
            record=self.catalog.record,
        )
        self.process = Process(self.supervisor, self.reloader, clock, version("flowrunner-engine"), tracing)
        self.process.catalog = self.catalog
        self._ending = asyncio.Event()
        self._closed = asyncio.Event()
        self._signals = 0
        self._code = 0

    async def main(
        self, listening: socket.socket, beside: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> int:
        """Run to the end and return the exit code."""
        loaded = self.reloader.start()
        if loaded.diagnostics:
            sys.stderr.write(render_text(loaded.diagnostics, loaded.texts) + "\n")
        invalid = any(found.severity == "error" for found in loaded.diagnostics)
        if self._mode.once_valid and invalid:
            return EX_CONFIG
        if not loaded.graphs and not (self._mode.wait and not self._mode.ends):
            return _nothing_to_run(loaded)
        self._handle_signals()
        token = self.settings.api_token
        app = create_app(
            self.process,
            token.get_secret_value() if token is not None else None,
            local=is_loopback(self.settings.http_host),
        )
        host, port = listening.getsockname()[:2]
        self._log.info("listening", url=f"http://{host}:{port}")
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, listening, self._closed), name="http")
            helpers = [
                group.create_task(self.process.watchdog.run(self._log), name="watchdog"),
                group.create_task(self.reloader.run(self.settings.reload_poll / NANOSECONDS), name="reload"),
                group.create_task(self.catalog.run(), name="catalog"),
            ]
            if self._mode.once:
                helpers.append(group.create_task(self._end_when_done(), name="once"))
            if self._mode.once_valid or self._mode.strict_start:
                helpers.append(group.create_task(self._see_them_start(), name="start"))
            group.create_task(self._end(helpers), name="end")
            others = [] if beside is None else [group.create_task(beside(), name="beside")]
            await self.supervisor.run(loaded.graphs, on_started=lambda: self._started(loaded))
            for other in others:
                other.cancel()
            self._closed.set()
        self._log.info("stopped")
        return self._code

    def _started(self, loaded: Loaded) -> None:
        self.reloader.started(loaded)
        _tidy_memory()

    async def _end(self, helpers: Sequence[asyncio.Task[None]]) -> None:
        """When asked, stop in this order: not ready, no reloads, flows drained; HTTP answers until the end."""
        await self._ending.wait()
        self.process.stopping = True
        for helper in helpers:
            helper.cancel()
        grace = self.settings.shutdown_grace / NANOSECONDS
        self._log.info("stopping", grace_s=grace)
        await self.supervisor.stop(grace * DRAIN_SHARE)

    async def _see_them_start(self) -> None:
        """Wait until all flows run, with ``strict_start`` until all their nodes and connections do; else end with 78."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while not self._have_started():  # noqa: ASYNC110  # a sum over many parts, not an event
                    await asyncio.sleep(0.05)
        started = self._have_started()
        if not started:
            self._log.error("flows have not started", trouble=trouble(self.process))
            self._code = EX_CONFIG
        if not started or self._mode.once_valid:
            self._ending.set()

    def _have_started(self) -> bool:
        if self._mode.strict_start:
            return not trouble(self.process)
        flows = self.supervisor.flows.values()
        running = all(flow.status == "running" and flow.runner.ready.is_set() for flow in flows)
        return bool(flows) and running and not self.supervisor.refused

    async def _end_when_done(self) -> None:
        """End when there is no more to do; with 1 when a flow or a source has failed for good."""
        # "Finished" is a sum over many parts, not an event.
        while not all(_is_done(flow) for flow in self.supervisor.flows.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self._code = int(any(_has_failed(flow) for flow in self.supervisor.flows.values()))
        self._ending.set()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self.reloader.want)

    def _on_signal(self) -> None:
        """End in good order; asked again, leave what is under way to the journal."""
        self._signals += 1
        self._ending.set()
        if self._signals > 1:
            self.supervisor.hurry()


def _nothing_to_run(loaded: Loaded) -> int:
    missing = any(found.code == "FR060" for found in loaded.diagnostics)
    return complain(
        "there is no valid flow to run",
        help="`flowrunner validate` tells of every mistake" if loaded.diagnostics else "a flow has `nodes:`",
        code=EX_USAGE if missing else EX_CONFIG,
    )


def _has_failed(flow: Flow) -> bool:
    sources = flow.runner.assembly.sources.values()
    return flow.status == "failed" or any(source.context.status == "failed" for source in sources)


def _is_done(flow: Flow) -> bool:
    return flow.status == "failed" or flow.runner.finished


def _complain_of(problem: Any) -> int:
    name = "_".join(str(part) for part in problem["loc"])
    text = problem["msg"].replace("{name}", name)
    return complain(f"setting FLOWRUNNER_{name.upper()}: {text}", help=problem.get("ctx", {}).get("help"))


def _tidy_memory() -> None:
    """Take what the start has left out of the garbage collector's sight: it is there for good."""
    gc.collect()
    gc.freeze()


def _lock(state_dir: Path) -> TextIO:
    """Take the state directory for this process; raises ``OSError`` when another one has it."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = open(state_dir / "lock", "a", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115  # held by the caller
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OSError(f"the state directory {state_dir} is in use by another flowrunner") from None
    return lock
