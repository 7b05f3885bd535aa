"""The usual course of a scenario: publish, disturb, recover, come to rest, judge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from reliability.disturbances import DISTURBANCES
from reliability.evidence import account
from reliability.oracle import Account
from reliability.plant import Plant, running
from reliability.report import LAG_LIMIT
from reliability.scenario import Outcome
from reliability.watch import Watched, watch

RATE = 60.0
WARM_UP = 2.0

type Fault = Callable[[Plant], Awaitable[None]]


def disturbance(kind: str, seconds: float) -> Fault:
    """Return one of the soak's faults, to last so many seconds."""

    async def fault(plant: Plant) -> None:
        await DISTURBANCES[kind].body(plant, seconds)

    return fault


@asynccontextmanager
async def publishing(plant: Plant) -> AsyncIterator[None]:
    """Publish in the background."""
    task = asyncio.create_task(plant.publisher.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def watching(plant: Plant) -> AsyncIterator[Watched]:
    """Look at health, books and lag in the background; they must be as promised at the end."""
    seen = Watched()
    task = asyncio.create_task(watch(plant, seen))
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert not seen.silent, "; ".join(seen.silent)
    assert not seen.unbalanced, "; ".join(seen.unbalanced)
    late = [lag for lag in seen.own_lags if lag > LAG_LIMIT]
    assert len(late) <= max(1, len(seen.own_lags) // 100), (
        f"the event loop was late by {max(late) * 1000:.0f} ms"
    )


async def endure(plant: Plant, fault: Fault) -> Outcome:
    """Disturb a plant while it works, and return what that cost when all is well again."""
    async with running(plant), watching(plant):
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            await plant.fresh()
            await fault(plant)
            seconds = await plant.fresh()
        judged = await judge_at_rest(plant)
    return outcome(judged, seconds)


async def judge_at_rest(plant: Plant) -> Account:
    """Wait until nothing is under way, end flowrunner, and judge what it did."""
    await plant.settled()
    plant.answering = False
    code = await plant.flowrunner.stop()
    assert code == 0, f"it ended with {code}"
    plant.collect()
    return await account(plant)


def outcome(judged: Account, seconds: float | None) -> Outcome:
    """Return an account as an outcome; what the broker has lost of what it acknowledged is told as lost."""
    assert not judged.problems, "; ".join(judged.problems)
    assert judged.journaled, "nothing has come in"
    return Outcome(judged.lost + judged.excused, judged.duplicated, judged.dead_lettered, seconds)
