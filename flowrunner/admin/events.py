"""Server-sent events for the live page: the numbers of all flows, once a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from flowrunner.admin.process import Process, notices, trouble
from flowrunner.admin.seats import Seat, Seats
from flowrunner.counters import Counters
from flowrunner.message import NANOSECONDS, Message
from flowrunner.runtime.channel import Channel
from flowrunner.runtime.reload.reloader import Reload
from flowrunner.runtime.supervisor import Flow

PERIOD = 1.0
"""Seconds between two events."""
SHOWN = 200
"""Characters of a message that are shown."""
LISTENERS = 32
"""How many pages may listen at once: each costs a snapshot a second."""


class Listeners:
    """The open event streams."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._seats = Seats(LISTENERS)

    def full(self) -> bool:
        """Return whether there is no room for another one."""
        return self._seats.full()

    def stream(self) -> AsyncIterator[bytes]:
        """Return events until the client leaves or the process ends. It counts from now on, not from its first event."""
        return self._events(self._seats.take())

    async def _events(self, seat: Seat) -> AsyncIterator[bytes]:
        try:
            while not self._process.stopping:
                yield b"data: " + msgspec.json.encode(snapshot(self._process)) + b"\n\n"
                await asyncio.sleep(PERIOD)
        finally:
            self._seats.give_back(seat)


def snapshot(process: Process) -> dict[str, Any]:
    """Return the numbers of all flows now: totals, from which the page makes rates."""
    now = process.clock.now()
    found = trouble(process)
    return {
        "time": now / NANOSECONDS,
        "ready": not found,
        "trouble": found + notices(process),
        "reloads": process.reloader.results,
        "recent_reloads": [_reload(time, done) for time, done in reversed(process.reloader.recent)],
        "flows": {name: _flow(flow, now) for name, flow in process.supervisor.flows.items()},
    }


def _reload(time: int, done: Reload) -> dict[str, Any]:
    return {"time": time / NANOSECONDS, "name": done.name, "result": done.result, "reason": done.reason}


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
    return {
        "hash": runner.graph.digest[:12],
        "generation": flow.generation,
        "restarts": flow.restarts,
        "since": flow.since / NANOSECONDS,
        "status": flow.status,
        "reason": flow.reason,
        **runner.ledger.as_dict(),
        "lag": max(0.0, (now - runner.pump.clock) / NANOSECONDS) if behind else 0.0,
        "journal_bytes": journal.bytes,
        "checkpoint_age": runner.checkpointer.age,
        "nodes": _nodes(flow),
    }


def _nodes(flow: Flow) -> dict[str, Any]:
    parts = flow.runner.assembly
    channels: dict[str, list[Channel]] = {}
    for (_, target), channel in parts.channels.items():
        channels.setdefault(target, []).append(channel)
    return {
        name: {
            "type": parts.graph.nodes[name].type.name,
            "status": context.status,
            "reason": context.reason,
            **_counts(context.counters),
            "depth": sum(channel.depth for channel in channels.get(name, ())),
            "capacity": sum(channel.capacity for channel in channels.get(name, ())),
            "last": _last(flow, name),
        }
        for name, context in parts.contexts.items()
    }


def _counts(counters: Counters) -> dict[str, Any]:
    """Return totals of a node; ``busy`` are seconds."""
    return {
        "received": counters.received,
        "emitted": counters.emitted,
        "written": counters.written,
        "filtered": counters.filtered,
        "aggregated": counters.aggregated,
        "dropped": counters.dropped,
        "dead_lettered": counters.dead_lettered,
        "errors": counters.errors,
        "retries": counters.retries,
        "held": counters.held,
        "busy": counters.busy_ns / NANOSECONDS,
    }
