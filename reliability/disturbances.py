"""What can go wrong at a plant, and the seeded order in which it does."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from reliability.plant import Plant
from reliability.publisher import number_of
from tests.servers.cut_proxy import CutProxy
from tests.servers.fake_influx import Fault, Hang, Reply, Reset

BROKER_MEMORY = 3.0
"""Seconds before a kill of the broker from which it may have forgotten: it saves its state once a second."""
LATE_ACKS = 2.0
"""Seconds after it during which a slow network still brings acknowledgements from before."""
REFUSED_EVERY = 50
OVERLAPPING = 0.25
"""The part of faults that do not wait until the one before is over."""

type Body = Callable[[Plant, float], Awaitable[None]]


@dataclass(frozen=True)
class Disturbance:
    """One kind of fault: ``body`` brings it, lets it last so many seconds, and ends it."""

    kind: str
    place: str
    weight: float
    longest: float
    body: Body


@dataclass(frozen=True)
class Planned:
    """One fault to come; ``rushed``: it does not wait until the one before is over."""

    kind: str
    seconds: float
    rushed: bool


DISTURBANCES: dict[str, Disturbance] = {}


def _disturbance(
    kind: str, place: str, *, weight: float = 1.0, longest: float = 4.0
) -> Callable[[Body], Body]:
    def register(body: Body) -> Body:
        DISTURBANCES[kind] = Disturbance(kind, place, weight, longest, body)
        return body

    return register


def plan(seed: int) -> Iterator[Planned]:
    """Return the endless order of faults that belongs to a seed."""
    chance = random.Random(seed)
    kinds = sorted(DISTURBANCES)
    weights = [DISTURBANCES[kind].weight for kind in kinds]
    together: set[str] = set()
    while True:
        kind = chance.choices(kinds, weights)[0]
        seconds = round(chance.uniform(0.3, DISTURBANCES[kind].longest), 2)
        place = DISTURBANCES[kind].place
        rushed = chance.random() < OVERLAPPING and bool(together) and place not in together
        together = {*together, place} if rushed else {place}
        yield Planned(kind, seconds, rushed)


# flowrunner itself


@_disturbance("flowrunner: kill -9", "flowrunner", weight=3, longest=2)
async def _kill(plant: Plant, seconds: float) -> None:
    process = plant.flowrunner.process
    assert process is not None
    if process.poll() is not None:
        raise AssertionError(f"it had ended by itself with {process.returncode}")
    plant.flowrunner.kill()
    await asyncio.sleep(seconds)
    await plant.start()


@_disturbance("flowrunner: SIGTERM and start", "flowrunner", weight=2, longest=2)
async def _terminate(plant: Plant, seconds: float) -> None:
    code = await plant.flowrunner.stop()
    if code != 0:
        raise AssertionError(f"SIGTERM ends it with {code}")
    await asyncio.sleep(seconds)
    await plant.start()


@_disturbance("flowrunner: SIGSTOP, SIGCONT", "flowrunner")
async def _pause(plant: Plant, seconds: float) -> None:
    process = plant.flowrunner.process
    assert process is not None
    plant.paused = True
    process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        process.send_signal(signal.SIGCONT)
        plant.paused_until = time.monotonic()
        plant.paused = False


@_disturbance("flowrunner: a changed flow is loaded", "flowrunner", weight=2, longest=0.5)
async def _reload(plant: Plant, seconds: float) -> None:
    plant.deploy()
    await asyncio.sleep(seconds)


@_disturbance("flowrunner: disk full", "flowrunner", weight=2)
async def _disk_full(plant: Plant, seconds: float) -> None:
    assert plant.flowrunner.process is not None
    pid = plant.flowrunner.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
    await asyncio.sleep(seconds)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


# The broker


@_disturbance("broker: kill -9", "broker", weight=2, longest=2)
async def _kill_broker(plant: Plant, seconds: float) -> None:
    plant.broker.stop(signal.SIGKILL)
    now = time.monotonic()
    plant.excused.append((now - BROKER_MEMORY, now + LATE_ACKS))
    await asyncio.sleep(seconds)
    await plant.broker.start()


@_disturbance("broker: SIGTERM and start", "broker", weight=2, longest=2)
async def _terminate_broker(plant: Plant, seconds: float) -> None:
    plant.broker.stop(signal.SIGTERM)
    await asyncio.sleep(seconds)
    await plant.broker.start()


@_disturbance("broker: SIGSTOP, SIGCONT", "broker", longest=6)
async def _pause_broker(plant: Plant, seconds: float) -> None:
    plant.broker.notify(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        plant.broker.notify(signal.SIGCONT)


# The network


async def _cut(link: CutProxy, seconds: float) -> None:
    await link.cut()
    await asyncio.sleep(seconds)
    await link.mend()


async def _half_open(link: CutProxy, seconds: float) -> None:
    link.freeze()
    await asyncio.sleep(seconds)
    link.thaw()


async def _latency(link: CutProxy, seconds: float) -> None:
    link.delay = 0.3
    await asyncio.sleep(seconds)
    link.delay = 0.0


async def _one_byte(link: CutProxy, seconds: float) -> None:
    link.chunk = 1
    await asyncio.sleep(seconds)
    link.chunk = None


async def _reset(link: CutProxy, seconds: float) -> None:
    for _ in range(3):
        link.reset()
        await asyncio.sleep(seconds / 3)


_LINKS: dict[str, Callable[[Plant], CutProxy]] = {
    "flowrunner and broker": lambda plant: plant.to_broker,
    "publisher and broker": lambda plant: plant.publisher_to_broker,
    "flowrunner and database": lambda plant: plant.to_influx,
}
_NETWORK: dict[str, Callable[[CutProxy, float], Awaitable[None]]] = {
    "cut": _cut,
    "half open": _half_open,
    "0.3 s of latency": _latency,
    "1-byte pieces": _one_byte,
    "resets": _reset,
}


def _network(link: Callable[[Plant], CutProxy], fault: Callable[[CutProxy, float], Awaitable[None]]) -> Body:
    async def body(plant: Plant, seconds: float) -> None:
        await fault(link(plant), seconds)

    return body


for _name, _link in _LINKS.items():
    for _what, _fault in _NETWORK.items():
        _disturbance(f"network {_name}: {_what}", _name, weight=0.7, longest=8)(_network(_link, _fault))


# The database


def _answers(fault: Fault) -> Body:
    async def body(plant: Plant, seconds: float) -> None:
        plant.influx.always = fault
        await asyncio.sleep(seconds)
        plant.influx.always = None

    return body


_ANSWERS: dict[str, Fault] = {
    "503": Reply(503, "busy"),
    "503 with Retry-After: 3": Reply(503, "busy", {"Retry-After": "3"}),
    "429": Reply(429, "slow down"),
    "black hole": Hang(),
    "reset in place of an answer": Reset(),
    "reset after the commit": Reset(after_commit=True),
    "an answer of 1 byte/s": Reply(500, "internal error, of which more will be said", seconds_a_byte=1.0),
}
for _what, _answer in _ANSWERS.items():
    _disturbance(f"database: {_what}", "database")(_answers(_answer))


@_disturbance("database: slow", "database")
async def _slow(plant: Plant, seconds: float) -> None:
    plant.influx.delay = 1.0
    await asyncio.sleep(seconds)
    plant.influx.delay = 0.0


@_disturbance("database: 413", "database")
async def _too_large(plant: Plant, seconds: float) -> None:
    plant.influx.max_body = 500
    await asyncio.sleep(seconds)
    plant.influx.max_body = None


def _one_in_fifty(line: str) -> str | None:
    at_fault = line.startswith("every,") and number_of(line) % REFUSED_EVERY == 0
    return "field type conflict" if at_fault else None


@_disturbance("database: 422, partial", "database")
async def _partial(plant: Plant, seconds: float) -> None:
    usual, plant.influx.refused = plant.influx.refused, _one_in_fifty
    await asyncio.sleep(seconds)
    plant.influx.refused = usual


@_disturbance("database: 400, malformed lines", "database")
async def _malformed(plant: Plant, seconds: float) -> None:
    usual, plant.influx.malformed = plant.influx.malformed, _one_in_fifty
    await asyncio.sleep(seconds)
    plant.influx.malformed = usual


@_disturbance("database: 401, then right again", "database", weight=0.25)
async def _unauthorized(plant: Plant, seconds: float) -> None:
    token, plant.influx.token = plant.influx.token, "another"
    await asyncio.sleep(seconds)
    plant.influx.token = token


@_disturbance("database: bucket missing, then created", "database", weight=0.25)
async def _no_bucket(plant: Plant, seconds: float) -> None:
    plant.influx.buckets.discard("home")
    await asyncio.sleep(seconds)
    plant.influx.buckets.add("home")
