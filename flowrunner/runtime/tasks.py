"""The tasks of a running flow, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Tasks:
    """Tasks of one group that can be ended one by one."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __getitem__(self, name: str) -> asyncio.Task[None]:
        """Return the task of that name, though it may have ended."""
        return self._tasks[name]

    @property
    def failed(self) -> bool:
        """Whether one of them has raised, so that all will be cancelled."""
        done = [task for task in self._tasks.values() if task.done() and not task.cancelled()]
        return any(task.exception() is not None for task in done)

    def runs(self, name: str) -> bool:
        """Return whether there is such a task that was not cancelled by name."""
        return name in self._tasks

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Start a task in the place of the one of that name, which has ended."""
        try:
            self._tasks[name] = self._group.create_task(work, name=name)
        except RuntimeError:  # the group is ending
            work.close()
            raise

    async def cancel(self, *names: str, patience: float | None = None) -> None:
        """Cancel tasks and wait until they have ended, for at most ``patience`` seconds."""
        chosen = {name: self._tasks[name] for name in names if name in self._tasks}
        for task in chosen.values():
            task.cancel()
        if chosen:
            await asyncio.wait(chosen.values(), timeout=patience)
        for name, task in chosen.items():
            if task.done():
                del self._tasks[name]

    async def ended(self, *names: str) -> None:
        """Return when tasks have ended by themselves."""
        if chosen := [self._tasks[name] for name in names if name in self._tasks]:
            await asyncio.wait(chosen)

    def named(self, prefix: str) -> list[str]:
        """Return the names that begin so."""
        return [name for name in self._tasks if name.startswith(prefix)]

    def cancel_all(self) -> None:
        """Cancel them all; whoever has the group waits for them."""
        for task in self._tasks.values():
            task.cancel()
