"""Virtual time: a loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any

from flowrunner.message import NANOSECONDS


class _Jump:
    """A selector that moves the loop's clock when nothing is ready."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> list[Any]:
        alone = not self._loop.threads and len(self._real.get_map()) == 1  # nothing but the loop's own pipe
        events = [] if alone else self._real.select(0)  # a system call less for each step
        if events or timeout == 0:
            return events
        if self._loop.threads:
            return self._real.select(None)
        if timeout is None:
            raise RuntimeError("deadlock: every task is blocked and no timer is set")
        self._loop.jump(max(1, round(timeout * NANOSECONDS)))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which a day passes in milliseconds.

    Work that was given to threads with ``run_in_executor`` is waited for in real time.
    """

    _clock_resolution: float

    def __init__(self) -> None:
        self.now = 0
        """Nanoseconds since the loop was made: a float of seconds could not count a year in them."""
        self.threads = 0
        super().__init__(_Jump(self))  # type: ignore[arg-type]  # a selector by behaviour
        self.jump(0)

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self.now / NANOSECONDS

    def jump(self, nanoseconds: int) -> None:
        """Move the clock on; a timer is due when its time has come, and not earlier."""
        self.now += nanoseconds
        self._clock_resolution = math.ulp(self.time())

    def call_at[*Ts](
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer; one that is too near to be told from now still lets time pass."""
        exact = round(when * NANOSECONDS) / NANOSECONDS  # equal to the clock when it is the same nanosecond
        later = max(exact, math.nextafter(self.time(), math.inf))
        return super().call_at(later, callback, *args, context=context)

    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread; the clock stands still until it is done."""
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads in real time."""
        self.threads += 1
        try:
            await super().shutdown_default_executor(timeout)
        finally:
            self.threads -= 1

    def _thread_done(self, done: asyncio.Future[Any]) -> None:
        del done
        self.threads -= 1


class VirtualClock:
    """A clock that follows a virtual loop from a given start."""

    def __init__(self, start: int = 0) -> None:
        """``start`` is nanoseconds since the epoch."""
        self._start = start

    def now(self) -> int:
        """Return the start plus the loop's time, in nanoseconds."""
        loop = asyncio.get_running_loop()
        elapsed = loop.now if isinstance(loop, VirtualLoop) else round(loop.time() * NANOSECONDS)
        return self._start + elapsed

    def monotonic(self) -> float:
        """Return the loop's time in seconds."""
        return asyncio.get_running_loop().time()


def run_virtual[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
