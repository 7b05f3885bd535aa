"""The catalog of a running process: a bounded queue, and a thread that empties it into the database."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from flowrunner.catalog.address import Address
from flowrunner.context import Logger
from flowrunner.errors import FlowrunnerError
from flowrunner.graph.revision import Revision
from flowrunner.runtime.backoff import Backoff

if TYPE_CHECKING:
    from flowrunner.catalog.store import Store

MOST = 1000
MOST_BYTES = 16 * 2**20
"""What waits for the database at the most; beyond it the oldest are dropped."""
_FLUSH_SECONDS = 2.0
"""How long the end of the process waits for what is still to be written."""


class Unavailable(FlowrunnerError):
    """The catalog cannot be read now."""


class Catalog:
    """Takes revisions at any time, without waiting, and keeps them for later."""

    def __init__(self, address: Address, instance: str, log: Logger) -> None:
        self.error: str | None = None
        """Why nothing is written now; ``None`` when all is well."""
        self.written = 0
        self.dropped = 0
        """Revisions that were given up: too many waited, or the catalog cannot be used."""
        self.retries = 0
        self._address = address
        self._instance = instance
        self._log = log
        self._waiting: deque[Revision] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._closed = False
        self._store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()

    def record(self, revision: Revision) -> None:
        """Keep a revision for the database; never waits and never fails."""
        with self._lock:
            if self._closed:
                self.dropped += 1
                return
            self._waiting.append(revision)
            self._bytes += _size(revision)
            given_up = self._make_room()
        if given_up:
            self.dropped += given_up
            self._log.error(
                "revisions were not recorded", count=given_up, reason="too many wait for the catalog"
            )
        self._tell(self._wake)

    async def run(self) -> None:
        """Write what is recorded until cancelled; what waits then is written if that can be done at once."""
        try:
            with ThreadPoolExecutor(1, "catalog") as threads:
                loop = asyncio.get_running_loop()
                await self._until_cancelled(loop.run_in_executor(threads, lambda: asyncio.run(self._work())))
        except Exception as error:
            self._refuse(self._words(error))

    async def _until_cancelled(self, work: asyncio.Future[None]) -> None:
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._closed = True
            self._tell(self._ending)
            await work
            raise

    async def read(self, flow: str, limit: int) -> list[dict[str, Any]]:
        """Return the newest revisions of a flow of this instance; raises :class:`Unavailable`."""
        if self._store is None or self._loop is None:
            raise Unavailable(self.error or "the catalog is being opened")
        reading = self._store.read(flow=flow, instance=self._instance, limit=limit)
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(reading, self._loop))
        except Exception as error:
            raise Unavailable(self._words(error)) from None

    def _tell(self, event: asyncio.Event) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(event.set)

    def _make_room(self) -> int:
        given_up = 0
        while len(self._waiting) > MOST or self._bytes > MOST_BYTES:
            self._bytes -= _size(self._waiting.popleft())
            given_up += 1
        return given_up

    async def _work(self) -> None:
        """Open the catalog and write to it, in the thread's own loop."""
        self._loop = asyncio.get_running_loop()
        if self._closed:  # it was cancelled before this loop could be told
            self._ending.set()
        writing = asyncio.create_task(self._write_all())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({writing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            self._wake.set()
            await asyncio.wait({writing}, timeout=_FLUSH_SECONDS if self.error is None else 0.1)
        ending.cancel()
        writing.cancel()
        await asyncio.wait({writing, ending})
        self._give_up_all()

    async def _write_all(self) -> None:
        backoff = Backoff()
        while not (self._closed and not self._waiting):
            try:
                await self._write_what_waits()
                backoff.reset()
                self._recovered()
            except FlowrunnerError as error:
                self._refuse(str(error))
                return
            except Exception as error:
                await self._failed(error, backoff)
                continue
            await self._wake.wait()
            self._wake.clear()

    async def _write_what_waits(self) -> None:
        if self._store is None:
            self._store = await self._open()
        while self._waiting:
            with self._lock:
                batch = list(self._waiting)[:_BATCH]
            await self._store.write(self._instance, batch)
            self.written += len(batch)
            with self._lock:
                self._forget(batch)

    async def _open(self) -> Store:
        from flowrunner.catalog.store import Store

        store = Store(self._address)
        try:
            await store.prepare()
        except Exception as error:
            if (aside := store.mend(error)) is None:
                raise
            self._log.error(
                "the catalog is damaged, a new one is begun", file=str(self._address.shown), kept_as=aside
            )
            await store.prepare()
        return store

    def _forget(self, batch: list[Revision]) -> None:
        """Take what was written from the queue, unless it has been dropped meanwhile."""
        done = {id(one) for one in batch}
        while self._waiting and id(self._waiting[0]) in done:
            self._bytes -= _size(self._waiting.popleft())

    async def _failed(self, error: Exception, backoff: Backoff) -> None:
        self.retries += 1
        pause = backoff.next()
        self.error = self._words(error)
        self._log.warning("the catalog cannot be written", reason=self.error, again_in_s=round(pause, 1))
        await asyncio.sleep(pause)

    def _recovered(self) -> None:
        if self.error is not None:
            self.error = None
            self._log.info("the catalog is written again", written=self.written)

    def _refuse(self, reason: str) -> None:
        """Go on without a catalog until the process is started anew."""
        self._closed, self._store = True, None
        self.error = reason
        self._log.error("running without the catalog", reason=reason)
        self._give_up_all()

    def _give_up_all(self) -> None:
        with self._lock:
            count = len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
        if count:
            self.dropped += count
            self._log.error(
                "revisions were not recorded", count=count, reason=self.error or "the process ends"
            )

    def _words(self, error: BaseException) -> str:
        cause = getattr(error, "orig", None) or error
        words = str(cause).splitlines()[0] if str(cause) else "it takes too long"
        return self._address.mask(f"{type(cause).__name__}: {words}")


_BATCH = 100


def _size(revision: Revision) -> int:
    """Return about how many bytes a revision takes."""
    return len(revision.source or "") + 500 * (1 + len(revision.diagnostics))
