"""Disks that are full, read-only or damaged."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from reliability.plant import Plant, running
from reliability.scenario import Outcome, scenario
from reliability.trial import RATE, WARM_UP, disturbance, endure, judge_at_rest, outcome, publishing
from reliability.watch import metric

_DAMAGE = """UPDATE checkpoints SET head = zeroblob(length(head))
    WHERE id = (SELECT max(id) FROM checkpoints)"""


@scenario("disk full", "Nothing is acknowledged that cannot be kept, and all goes on when there is room.")
async def full(folder: Path) -> Outcome:
    return await endure(Plant(folder, rate=RATE), disturbance("flowrunner: disk full", 6.0))


@scenario(
    "a damaged checkpoint", "The one before is taken, more is replayed, and it is told; nothing is lost."
)
async def damaged_checkpoint(folder: Path) -> Outcome:
    plant = Plant(folder, rate=RATE)
    async with running(plant):
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            await plant.fresh()
            plant.flowrunner.kill()
            with closing(sqlite3.connect(plant.flowrunner.state / "flows/climate/state.db")) as database:
                assert database.execute(_DAMAGE).rowcount == 1
                database.commit()
            await plant.start()
            seconds = await plant.fresh()
            _, text = await plant.get("/metrics")
        judged = await judge_at_rest(plant)
    assert metric(text, "flowrunner_state_damaged_files_total"), "the damage was not told"
    return outcome(judged, seconds)


@scenario(
    "a state directory that cannot be written",
    "It says so in one line and does not begin; with the right to write it begins, and nothing is lost.",
)
async def read_only(folder: Path) -> Outcome:
    plant = Plant(folder, rate=RATE)
    async with running(plant):
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            await plant.flowrunner.stop()
            for path in (plant.flowrunner.state, *plant.flowrunner.state.rglob("*")):
                path.chmod(0o500 if path.is_dir() else 0o400)
            told = await _start_without_rights(plant)
            for path in (plant.flowrunner.state, *plant.flowrunner.state.rglob("*")):
                path.chmod(0o700 if path.is_dir() else 0o600)
            began = time.monotonic()
            await plant.start()
            await plant.fresh()
            seconds = time.monotonic() - began
        judged = await judge_at_rest(plant)
    assert "Traceback" not in told, told[-500:]
    assert str(plant.flowrunner.state) in told, told[-500:]
    return outcome(judged, seconds)


async def _start_without_rights(plant: Plant) -> str:
    """Start flowrunner where it may not write; return what it said. Root may write everywhere, so it gives that up."""
    before = len(plant.flowrunner.log.read_text())
    prefix = [] if os.geteuid() else [shutil.which("setpriv") or "setpriv", "--bounding-set", "-dac_override"]
    plant.flowrunner.launch(prefix)
    process = plant.flowrunner.process
    assert process is not None
    code = await asyncio.to_thread(process.wait, 20)
    assert code == 2, f"it ended with {code}"
    return plant.flowrunner.log.read_text()[before:]
