"""The route `/api/v1/tap`: what passes a node, as it passes. Sampled, bounded, without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import PydanticCustomError

from flowrunner.admin.process import Process
from flowrunner.admin.seats import Seat, Seats
from flowrunner.admin.shown import Shower
from flowrunner.admin.why import Watch
from flowrunner.errors import MessageError
from flowrunner.expression import Expression
from flowrunner.graph.build import ERRORS
from flowrunner.message import Message
from flowrunner.runtime.supervisor import Flow
from flowrunner.runtime.taps import IN, Sampler

PERIOD = 0.1
"""Seconds between two looks at what has gathered."""
MOST = 20
"""Messages that are sent in a period; the others are counted."""
TAPS = 16
"""How many may listen at once."""
QUIET = 10.0
"""Seconds after which a sign of life is sent when there is nothing else."""

type Event = dict[str, Any]
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"


def router(process: Process) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["tap"])
    seats = Seats(TAPS)

    @routes.get("/api/v1/tap")
    async def tap(
        request: Request,
        node: Annotated[str, Query(description="`FLOW.NODE`, or `FLOW.NODE.PORT`.")],
        where: Annotated[str | None, Query(description="A condition in CEL.")] = None,
        sample: Annotated[int, Query(ge=1, le=1_000_000, description="Every how many messages.")] = 1,
        why: Annotated[
            bool, Query(description="Send whole ways of messages instead, from their sources.")
        ] = False,
    ) -> Response:
        """Send the messages that leave a node or reach a sink: server-sent events, or JSON lines if accepted."""
        if seats.full():
            raise HTTPException(503, "too many are listening", headers={"Retry-After": "10"})
        place = find_place(process, node)
        condition = None if where is None else read_condition(where)
        lines = NDJSON in request.headers.get("accept", "")
        listening = (
            Following(process, place, condition) if why else Listening(process, place, condition, sample)
        )
        return StreamingResponse(
            encode(listening.events(), seats, seats.take(), lines=lines),
            media_type=NDJSON if lines else EVENTS,
            headers={"Cache-Control": "no-store"},
        )

    return routes


class Place(msgspec.Struct, frozen=True):
    """What is listened to: a port of a node, or all that leaves it."""

    flow: Flow
    node: str
    port: str | None


def find_place(process: Process, text: str) -> Place:
    """Return the place that ``FLOW.NODE[.PORT]`` names. Raises ``HTTPException`` with what was probably meant."""
    flow_name, name, port = ([*text.split(".", 2), "", ""])[:3]
    flows = process.supervisor.flows
    flow = flows.get(flow_name)
    if flow is None:
        raise _not_found(f"no flow `{flow_name}` is running", flow_name, list(flows))
    node = flow.graph.nodes.get(name)
    if node is None:
        raise _not_found(f"flow `{flow_name}` has no node `{name}`", name, list(flow.graph.nodes), flow_name)
    ports = [*([IN] if node.type.kind == "sink" else node.ports), ERRORS]
    if port and port not in ports:
        raise _not_found(f"node `{name}` has no port `{port}`", port, ports, f"{flow_name}.{name}")
    if port == ERRORS and not flow.graph.outputs(name, ERRORS):
        raise HTTPException(
            404,
            {
                "problem": f"nothing is wired to the port `errors` of `{name}`: its failed messages are dead letters",
                "help": "see them with: flowrunner dead-letters list",
            },
        )
    return Place(flow, name, port or None)


def _not_found(problem: str, given: str, known: list[str], before: str = "") -> HTTPException:
    close = get_close_matches(given, known, 1, 0.6)
    prefix = f"{before}." if before else ""
    there = ", ".join(prefix + one for one in known[:20])
    help = f"did you mean `{prefix}{close[0]}`?" if close else f"there are: {there}"
    return HTTPException(404, {"problem": problem, "help": help})


def read_condition(text: str) -> Expression:
    """Return a condition. Raises ``HTTPException`` with what is wrong in it, and where."""
    try:
        return Expression(text)
    except PydanticCustomError as error:
        told = error.context or {}
        place = {name: told.get(name) for name in ("offset", "length")}
        help = told.get("help")
        problem = str(told.get("text")).replace("{name}", "where")
        raise HTTPException(
            422, {"problem": problem, "help": help and help.replace("{name}", "where"), **place}
        ) from None


class Stream:
    """What is sent to one reader, for as long as it reads."""

    def __init__(self, process: Process, place: Place) -> None:
        self._process = process
        self._place = place

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Listen as long as the stream is read."""
        raise NotImplementedError

    def _gathered(self) -> Iterator[Event]:
        """Return what has come since the last time."""
        raise NotImplementedError

    async def events(self) -> AsyncGenerator[Event | None]:
        """Return what passes until the reader leaves, the node is gone or the process ends; ``None`` is a sign of life."""
        quiet = 0.0
        with self._open():
            yield self._about()
            while (end := self._ended()) is None:
                await asyncio.sleep(PERIOD)
                quiet += PERIOD
                for event in self._gathered():
                    quiet = 0.0
                    yield event
                if quiet >= QUIET:
                    quiet = 0.0
                    yield None
            yield end

    def _about(self) -> Event:
        place = self._place
        return {"kind": "listening", "flow": place.flow.graph.name, "node": place.node, "port": place.port}

    def _ended(self) -> Event | None:
        place = self._place
        name = place.flow.graph.name
        if self._process.stopping:
            return {"kind": "end", "reason": "flowrunner is stopping"}
        if self._process.supervisor.flows.get(name) is not place.flow:
            return {"kind": "end", "reason": f"flow `{name}` was removed or started anew"}
        if place.node not in place.flow.graph.nodes:
            return {"kind": "end", "reason": f"node `{place.node}` was removed"}
        return None


class Listening(Stream):
    """The messages that pass a place."""

    def __init__(self, process: Process, place: Place, condition: Expression | None, sample: int) -> None:
        super().__init__(process, place)
        self._condition = condition
        self._sampler = Sampler(place.port, sample)
        self._shower = Shower(place.flow.graph)

    @contextmanager
    def _open(self) -> Iterator[None]:
        tap = self._place.flow.storage.taps.at(self._place.node)
        tap.add(self._sampler)
        try:
            yield
        finally:
            tap.remove(self._sampler)

    def _gathered(self) -> Iterator[Event]:
        """Return what has come since the last time: some messages, and how many others there were."""
        missed, self._sampler.missed, sent = self._sampler.missed, 0, 0
        failed, reason = 0, ""
        for port, message in self._sampler.take():
            try:
                if not self._wanted(message):
                    continue
            except MessageError as error:
                failed, reason = failed + 1, str(error)
                continue
            if sent == MOST:
                missed += 1
                continue
            sent += 1
            yield self._message(port, message)
        if missed:
            yield {"kind": "missed", "count": missed}
        if failed:
            yield {"kind": "failed", "count": failed, "reason": self._shower.text(reason)}

    def _wanted(self, message: Message) -> bool:
        return self._condition is None or self._condition.evaluate(message) is True

    def _message(self, port: str, message: Message) -> Event:
        return {"kind": "message", "node": self._place.node, "port": port, **self._shower.message(message)}


class Following(Stream):
    """The ways of messages that come by a place, from their sources to their ends."""

    def __init__(self, process: Process, place: Place, condition: Expression | None) -> None:
        super().__init__(process, place)
        self._watch = Watch(place.flow, place.node, condition)

    @contextmanager
    def _open(self) -> Iterator[None]:
        self._watch.begin()
        try:
            yield
        finally:
            self._watch.end()

    def _gathered(self) -> Iterator[Event]:
        return self._watch.told()


async def encode(
    events: AsyncIterator[Event | None], seats: Seats, seat: Seat, *, lines: bool
) -> AsyncGenerator[bytes]:
    """Write events as JSON lines or server-sent events, and give the seat back at the end."""
    try:
        async for event in events:
            if event is None:
                yield b"\n" if lines else b":\n\n"
            else:
                data = msgspec.json.encode(event)
                yield data + b"\n" if lines else b"data: " + data + b"\n\n"
    finally:
        seats.give_back(seat)
