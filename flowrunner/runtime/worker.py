"""A thread for calls that block: the disk's work, in order, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

type _Call = tuple[Callable[[], Any], Future[Any]]


class Worker(Executor):
    """One thread that runs calls one after the other.

    It is a daemon, which the standard library's executors are not: a disk that hangs must not keep the process
    from ending. It is an executor so that the event loop knows of the work that is under way.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call[T](self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``function`` in the thread. It runs to its end even when the future is cancelled."""
        return asyncio.get_running_loop().run_in_executor(self, function)

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Queue a call; it cannot be cancelled any more."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._calls.put((lambda: function(*args, **named), future))
        return future

    def stop(self) -> None:
        """End the thread after the calls made so far; does not wait for it."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            try:
                future.set_result(function())
            except BaseException as raised:  # handed to the caller, whatever it is
                future.set_exception(raised)
            del call, function, future
