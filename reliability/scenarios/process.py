"""Ends of flowrunner that were and were not asked for."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

from reliability.plant import Plant, running
from reliability.scenario import Outcome, scenario
from reliability.trial import RATE, WARM_UP, disturbance, endure, judge_at_rest, outcome, publishing
from tests.servers.fake_influx import Reply

_FLOOD = 2000.0
_GRACE = 6.0
_FULL = 4000
"""Messages under way with which every channel before the sink is full."""
_KILLS = 8
_AT_ONCE = 2.0


@scenario("flowrunner: kill -9 in a loop", "Killed again and again, also while it starts, it loses nothing.")
async def kill_loop(folder: Path) -> Outcome:
    async def fault(plant: Plant) -> None:
        chance = random.Random(1)
        for _ in range(_KILLS):
            plant.flowrunner.kill()
            plant.answering = False
            plant.flowrunner.launch()
            await asyncio.sleep(chance.uniform(0.2, 2.5))
        plant.flowrunner.kill()
        await plant.start()

    return await endure(Plant(folder, rate=RATE), fault)


@scenario("flowrunner: held up", "A process that stood still for a while goes on, and nothing is lost.")
async def hold_up(folder: Path) -> Outcome:
    return await endure(Plant(folder, rate=RATE), disturbance("flowrunner: SIGSTOP, SIGCONT", 8.0))


@scenario("flowrunner: a changed flow is loaded", "A reload under load loses and repeats nothing.")
async def reload(folder: Path) -> Outcome:
    async def fault(plant: Plant) -> None:
        for _ in range(4):
            plant.deploy()
            await asyncio.sleep(1.5)

    return await endure(Plant(folder, rate=RATE), fault)


@scenario(
    "SIGTERM with full channels and the database down",
    "It ends with 0 within the grace, is alive until the end and not ready at once; nothing is lost.",
)
async def terminate(folder: Path) -> Outcome:
    return await _end_under_pressure(folder, second=None)


@scenario(
    "a second SIGTERM", "It ends at once with 0; what is under way stays in the journal and is written later."
)
async def terminate_twice(folder: Path) -> Outcome:
    return await _end_under_pressure(folder, second=0.5)


async def _end_under_pressure(folder: Path, second: float | None) -> Outcome:
    plant = Plant(folder, rate=_FLOOD, shutdown_grace=f"{_GRACE}s")
    async with running(plant):
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            plant.influx.always = Reply(503, "busy")

            async def full() -> bool:
                return int((await plant.books()).get("held", 0)) > _FULL

            await plant.until(full, "the channels are not full", 30)
            await _terminate(plant, second)
        plant.influx.always = None
        began = time.monotonic()
        await plant.start()
        await plant.until(plant.ready, "it is not ready", 60)
        judged = await judge_at_rest(plant)
    return outcome(judged, time.monotonic() - began)


async def _terminate(plant: Plant, second: float | None) -> None:
    """Send SIGTERM, once or twice, and look at the health until the process has ended."""
    process = plant.flowrunner.process
    assert process is not None
    plant.answering = False
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    silent_since: float | None = None
    limit = _GRACE + 1.0
    while process.poll() is None:
        await asyncio.sleep(0.05)
        passed = time.monotonic() - began
        if second is not None and passed >= second:
            process.send_signal(signal.SIGTERM)
            second, limit = None, passed + _AT_ONCE
        live, _ = await plant.get("/livez")
        ready, _ = await plant.get("/readyz")
        silent_since = None if live == 200 else silent_since or time.monotonic()
        assert silent_since is None or time.monotonic() - silent_since < 1.0, "it is silent before its end"
        assert ready != 200 or passed < 0.5, "it is ready though it ends"
        assert passed < limit, "it does not end in time"
    assert process.returncode == 0, f"it ended with {process.returncode}"
