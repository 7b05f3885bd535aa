"""Follow single messages through a flow and write down what each node made of them.

A message is known by its identity, as nodes share messages and never change them. A node is given a followed message
alone: what a flow computes does not depend on how its input is cut into batches, and so what happened is its doing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from flowrunner.expression import EVALUATION_ERRORS, Expression
from flowrunner.message import Message

if TYPE_CHECKING:
    from flowrunner.runtime.stage import Outlet, Step

MOST_STATIONS = 200
"""Stations of a path; what comes then is not followed any more."""
_TIMERS = 8
"""Pieces of a thousand timers that are looked through to say until when a message is held."""

type Outcome = Literal[
    "came", "passed", "changed", "filtered", "held", "replaced", "released", "aggregated", "dropped", "failed",
    "arrived", "written",
]  # fmt: skip


class Station(msgspec.Struct, frozen=True):
    """What one node made of a message."""

    node: str
    outcome: Outcome
    before: Message
    after: Sequence[tuple[str, Message]] = ()
    """What left the node, with the ports."""
    reason: str | None = None
    until: int | None = None
    """The flow clock at which a held message is let go or counted, nanoseconds."""
    unwired: tuple[str, ...] = ()
    """Ports of ``after`` at which it ended, as nothing is wired to them."""


class Path:
    """One message on its way, and what was made of it."""

    def __init__(self, number: int, node: str, port: str, message: Message, wires: int) -> None:
        self.number = number
        self.stations = [Station(node, "came", message, [(port, message)])]
        self.open = wires
        """Arrivals that are still to come."""
        self.held = 0
        """Nodes that keep something of it."""
        self.messages = {id(message): message}

    @property
    def done(self) -> bool:
        """Whether everything that became of the message has come to its end."""
        return self.open <= 0 and self.held <= 0


class _Held(msgspec.Struct):
    path: Path
    message: Message
    whole: bool
    """Whether the node keeps the message itself, not only what it counts of it."""
    until: int | None


class Follower:
    """The messages of one flow that are being followed."""

    def __init__(self) -> None:
        self.followed: dict[int, list[Path]] = {}
        """The paths by the identity of their messages; empty while nobody wants to know."""
        self._held: dict[str, list[_Held]] = {}

    def begin(self, path: Path) -> None:
        """Follow a message that has just left its source."""
        for identity in path.messages:
            self.followed.setdefault(identity, []).append(path)

    def end(self, path: Path) -> None:
        """Follow a path no further."""
        for identity in path.messages:
            paths = [other for other in self.followed.pop(identity, ()) if other is not path]
            if paths:
                self.followed[identity] = paths
        for node, held in list(self._held.items()):
            self._held[node] = [one for one in held if one.path is not path]

    def give(self, step: Step, part: Sequence[Message]) -> list[Message]:
        """Give a node a batch, those that are followed one by one; return what it sends by ``out``."""
        out: list[Message] = []
        start = 0
        for place, message in enumerate(part):
            paths = self.followed.get(id(message))
            if paths is not None:
                if place > start:
                    out += step.node.on_batch(part[start:place])
                out += self._give_one(step, message, paths)
                start = place + 1
        return out + step.node.on_batch(part[start:]) if start < len(part) else out

    def _give_one(self, step: Step, message: Message, paths: Sequence[Path]) -> list[Message]:
        node, context = step.node, step.outlet.context
        fired: list[Message] = []
        if context.timers.due <= message.clock:
            node.advance(message.clock, fired)
            self.released(step, fired)
        before = _Seen(step.outlet, message)
        # A node may hold a message in the place of another one: no counter tells which of them it has kept.
        references = sys.getrefcount(message)
        out = node.on_batch([message])
        kept = sys.getrefcount(message) > references
        station = before.station(out, kept=kept)
        if station.outcome == "held":
            until = _until(step, message)
            station = msgspec.structs.replace(station, until=until)
            for path in paths:
                path.held += 1
                self._held.setdefault(context.node, []).append(_Held(path, message, kept, until))
        for path in paths:
            path.open -= 1
            self._add(path, station, step.outlet)
        return fired + out

    def released(self, step: Step, fired: Sequence[Message]) -> None:
        """Look whether what timers set free is, or contains, something that the node held."""
        name = step.outlet.context.node
        waiting = self._held.get(name)
        if not waiting or not fired:
            return
        left: list[_Held] = []
        for held in waiting:
            freed = next((one for one in fired if _comes_from(step, one, held)), None)
            gone = held.until is not None and fired[-1].clock >= held.until
            if freed is None and not gone:
                left.append(held)
                continue
            held.path.held -= 1
            outcome: Outcome = "replaced" if freed is None else "released" if held.whole else "aggregated"
            after = [] if freed is None else [("out", freed)]
            self._add(held.path, Station(name, outcome, held.message, after), step.outlet)
        self._held[name] = left

    def ended(
        self, node: str, message: Message, outcome: Outcome, reason: str | None = None, *, final: bool = True
    ) -> None:
        """Write down what became of a message at a sink."""
        for path in self.followed.get(id(message), ()):
            path.open -= final
            path.stations.append(Station(node, outcome, message, reason=reason))

    def _add(self, path: Path, station: Station, outlet: Outlet) -> None:
        """Write a station down, and follow what left the node there."""
        unwired = tuple(port for port, _ in station.after if not outlet.wires.get(port))
        path.stations.append(msgspec.structs.replace(station, unwired=unwired))
        if len(path.stations) > MOST_STATIONS:
            path.open = path.held = 0
            return
        for port, message in station.after:
            path.open += len(outlet.wires.get(port, ()))
            if id(message) not in path.messages:
                path.messages[id(message)] = message
                self.followed.setdefault(id(message), []).append(path)


class _Seen:
    """What was at a node before it was given a message."""

    def __init__(self, outlet: Outlet, message: Message) -> None:
        self._context = context = outlet.context
        self._message = message
        counters = context.counters
        self._counted = (counters.held, counters.aggregated, dict(counters.dropped))
        self._ports = {port: len(sent) for port, sent in context.ports.items()}
        self._failures = len(context.failures)

    def station(self, out: Sequence[Message], *, kept: bool) -> Station:
        """Return what happened since; ``kept`` says that the node has kept the message itself."""
        context, message = self._context, self._message
        node, counters = context.node, context.counters
        held, aggregated, dropped = self._counted
        after = [("out", one) for one in out]
        for port, sent in context.ports.items():
            after += [(port, one) for one in sent[self._ports.get(port, 0) :]]
        if failures := context.failures[self._failures :]:
            return Station(node, "failed", message, after, reason=failures[0][1])
        if after:
            outcome: Outcome = "passed" if all(one is message for _, one in after) else "changed"
            return Station(node, outcome, message, after)
        if kept or counters.held > held:
            return Station(node, "held", message)
        if reasons := [name for name, count in counters.dropped.items() if count > dropped.get(name, 0)]:
            return Station(node, "dropped", message, reason=reasons[0])
        outcome = "aggregated" if counters.aggregated > aggregated else "filtered"
        return Station(node, outcome, message)


def _key(step: Step, message: Message) -> object:
    """Return what a node keeps messages apart by; ``None`` when it does not."""
    key = getattr(step.node.config, "key", None)
    if not isinstance(key, Expression):
        return None
    try:
        return key.function(message)
    except EVALUATION_ERRORS:
        return None


def _until(step: Step, message: Message) -> int | None:
    """Return when the timer is due that ends the holding: that of the key, else that of the message's window."""
    key = _key(step, message)
    latest = message.time + int(getattr(step.node.config, "allowed_lateness", 0))
    of_key: list[int] = []
    others: list[int] = []
    for _, piece in zip(range(_TIMERS), step.timers.snapshot(), strict=False):
        for due, name in piece:
            mine = key is not None and (name == key or (isinstance(name, tuple | list) and key in name))
            (of_key if mine else others).append(due)
    return min(of_key, default=None) or min((due for due in others if due > latest), default=None)


def _comes_from(step: Step, freed: Message, held: _Held) -> bool:
    """Return whether a timer has set free a held message, or the result of the window that it was counted in."""
    if held.whole:
        return freed.payload is held.message.payload and freed.topic == held.message.topic
    if held.until is not None and freed.clock < held.until:
        return False
    key = _key(step, held.message)
    return key is None or freed.topic == held.message.topic or _key(step, freed) == key
