"""After a reload: what the sinks and connections that are gone still have to do, and those in their place.

All this happens while the new version runs already. Until a new sink has taken over from the one before it, its
channel gathers what is meant for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from flowrunner.counters import Counters
from flowrunner.runtime.assemble import Assembly
from flowrunner.runtime.checkpoints.books import dump_counters, retire
from flowrunner.runtime.sinks import SinkTask
from flowrunner.runtime.sources import run_connection
from flowrunner.runtime.tasks import Tasks

WRITE_SECONDS = 5.0
"""How long the write of a sink may take that is replaced."""
LEAVE_SECONDS = 10.0
"""How long a sink that is removed may take to write what had come to it; the rest becomes dead letters."""
REMOVED = "the sink was removed before it could write this"


class Gone(msgspec.Struct, frozen=True):
    """What the new version has no place for, or has put something else in the place of."""

    replaced: Mapping[str, SinkTask]
    removed: Mapping[str, SinkTask]
    connections: tuple[str, ...]
    """Those that end."""
    begun: tuple[str, ...]
    """Connections of the new version that begin when the others have ended."""


async def exchange(gone: Gone, parts: Assembly, tasks: Tasks, retired: Counters) -> None:
    """Let sinks and connections that are gone end, and those in their place begin."""
    async with asyncio.TaskGroup() as group:
        for name, old in gone.replaced.items():
            group.create_task(_replace(name, old, parts, tasks))
        for name, old in gone.removed.items():
            group.create_task(_remove(name, old, parts, tasks, retired))
    await tasks.cancel(*(f"connection {name}" for name in gone.connections))
    for name in gone.begun:
        tasks.start(run_connection(parts.connections[name]), f"connection {name}")


async def _replace(name: str, old: SinkTask, parts: Assembly, tasks: Tasks) -> None:
    """Give what a sink has not brought to the world to the one in its place, and start that."""
    new = parts.sinks[name]
    left = await old.leave(tasks[f"sink {name}"], WRITE_SECONDS)
    new.take_up(left, old.snapshot())
    tasks.start(new.run(), f"sink {name}")


async def _remove(name: str, old: SinkTask, parts: Assembly, tasks: Tasks, retired: Counters) -> None:
    """Wait until a sink has written what had come to it; what it cannot write in time becomes dead letters."""
    task, context = tasks[f"sink {name}"], old.outlet.context
    await asyncio.wait({task}, timeout=LEAVE_SECONDS)
    left = await old.leave(task, WRITE_SECONDS)
    more = old.inbox.take_all().get(name, [])
    context.counters.received += len(more)
    context.counters.held -= len(left)
    for message in left + more:
        context.fail(message, REMOVED)
    old.outlet.settle([])
    parts.leaving.remove(old)
    retire(retired, dump_counters(context.counters))
    context.report("stopped", "removed")
    old.left.set()
