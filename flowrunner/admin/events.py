"""Server-sent events for the live page: the numbers of all flows, once a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakSet

import msgspec

from flowrunner.admin.process import Process, notices, trouble
from flowrunner.message import NANOSECONDS, Message
from flowrunner.runtime.supervisor import Flow

PERIOD = 1.0
"""Seconds between two events."""
SHOWN = 200
"""Characters of a message that are shown."""
LISTENERS = 32
"""How many pages may listen at once: each costs a snapshot a second."""


class _Seat:
    """What a stream holds from its creation: gone with a stream that nobody has begun to read."""


class Listeners:
    """The open event streams."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._seats: WeakSet[_Seat] = WeakSet()

    def full(self) -> bool:
        """Return whether there is no room for another one."""
        return len(self._seats) >= LISTENERS

    def stream(self) -> AsyncIterator[bytes]:
        """Return events until the client leaves or the process ends. It counts from now on, not from its first event."""
        seat = _Seat()
        self._seats.add(seat)
        return self._events(seat)

    async def _events(self, seat: _Seat) -> AsyncIterator[bytes]:
        try:
            while not self._process.stopping:
                yield b"data: " + msgspec.json.encode(snapshot(self._process)) + b"\n\n"
                await asyncio.sleep(PERIOD)
        finally:
            self._seats.discard(seat)


def snapshot(process: Process) -> dict[str, Any]:
    """Return the numbers of all flows now: totals, from which the page makes rates."""
    now = process.clock.now()
    found = trouble(process)
    return {
        "time": now / NANOSECONDS,
        "ready": not found,
        "trouble": found + notices(process),
        "reloads": process.reloader.results,
        "flows": {name: _flow(flow, now) for name, flow in process.supervisor.flows.items()},
    }


def _last(flow: Flow, node: str) -> list[str]:
    """Return the newest messages that a sink has written, newest first."""
    sink = flow.runner.assembly.sinks.get(node)
    if sink is None:
        return []

    def line(message: Message) -> str:
        try:
            return sink.node.show(message)[:SHOWN]
        except Exception as error:
            return f"cannot be shown: {type(error).__name__}"  # a node type's bug must not end the stream

    return [line(message) for message in reversed(sink.last)]


def _flow(flow: Flow, now: int) -> dict[str, Any]:
    runner, journal = flow.runner, flow.storage.journal
    behind = journal.last > runner.pump.position
    depth: dict[str, int] = {}
    for (_, target), channel in runner.assembly.channels.items():
        depth[target] = depth.get(target, 0) + channel.depth
    return {
        "hash": runner.graph.digest[:12],
        "generation": flow.generation,
        "status": flow.status,
        "reason": flow.reason,
        **runner.ledger.as_dict(),
        "lag": max(0.0, (now - runner.pump.clock) / NANOSECONDS) if behind else 0.0,
        "journal_bytes": journal.bytes,
        "checkpoint_age": runner.checkpointer.age,
        "nodes": {
            name: {
                "status": context.status,
                "reason": context.reason,
                "received": context.counters.received,
                "emitted": context.counters.emitted,
                "written": context.counters.written,
                "errors": context.counters.errors,
                "held": context.counters.held,
                "dropped": sum(context.counters.dropped.values()),
                "depth": depth.get(name, 0),
                "last": _last(flow, name),
            }
            for name, context in runner.assembly.contexts.items()
        },
    }
