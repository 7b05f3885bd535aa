"""A thread for calls that block: the disk's work, in order, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

type _Call = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class Worker:
    """One thread that runs calls one after the other.

    It is a daemon: a disk that hangs must not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call[T](self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``function`` in the thread. It runs to its end even when the future is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((function, future, loop))
        return future

    def stop(self) -> None:
        """End the thread after the calls made so far; does not wait for it."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future, loop = call
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # handed to the caller, whatever it is
                error = raised
            # The loop may be closed by now: then nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, future, result, error)
            del call, function, future, result, error


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
