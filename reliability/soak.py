"""Random faults at random times on a whole installation: ``python -m reliability.soak --minutes 60 [--seed N]``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from reliability.disturbances import DISTURBANCES, Planned, plan
from reliability.evidence import account
from reliability.plant import Plant, running
from reliability.report import Run, broken, render
from reliability.watch import Footprint, Watched, footprint, watch

RATE = 60.0
"""Messages a second."""
WARM_UP = 8.0
"""Seconds before the first fault, and again before the last look: caches fill, the base line is taken."""
_BETWEEN = 1.5


@dataclass
class _Course:
    """How the faults went."""

    kinds: Counter[str] = field(default_factory=Counter)
    recoveries: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)


async def soak(folder: Path, seconds: float, seed: int) -> Run:
    """Disturb a plant for so many seconds, let it come to rest, and judge."""
    began = time.monotonic()
    plant = Plant(folder, rate=RATE)
    seen, course = Watched(), _Course()
    async with running(plant), asyncio.TaskGroup() as group:
        watching = group.create_task(watch(plant, seen))
        publishing = group.create_task(plant.publisher.run())
        await asyncio.sleep(WARM_UP)
        before = footprint(plant)
        await _disturb(plant, began + seconds, seed, course)
        await asyncio.sleep(WARM_UP)
        course.footprints.append(footprint(plant))
        await _end(publishing)
        try:
            await plant.settled()
        except AssertionError as error:
            course.failures.append(str(error))
        await _end(watching)
        code = await plant.flowrunner.stop()
        if code:
            course.failures.append(f"it ended with {code}")
        plant.collect()
    seen.tracebacks = plant.flowrunner.log.read_text().count("Traceback (most recent")
    return Run(
        seed=seed,
        version=_version(),
        minutes=seconds / 60,
        faults=course.kinds.total(),
        kinds=course.kinds,
        recoveries=course.recoveries,
        account=await account(plant),
        seen=seen,
        before=before,
        after=course.footprints,
        failures=course.failures,
    )


async def _disturb(plant: Plant, until: float, seed: int, course: _Course) -> None:
    """Bring the faults of a seed, one group that overlaps after the other, until the time is over."""
    faults = plan(seed)
    first = next(faults)
    while time.monotonic() < until:
        group = [first]
        for first in faults:
            if not first.rushed:
                break
            group.append(first)
        course.kinds.update(item.kind for item in group)
        try:
            await _bring(plant, group)
            seconds = await plant.fresh()
        except Exception as error:
            course.failures.append(f"{_named(group)}: {type(error).__name__}: {error}")
            _say(course.failures[-1])
            await _revive(plant, course)
        else:
            if len(group) == 1:
                course.recoveries[group[0].kind].append(seconds)
            _say(f"{_named(group)}: well after {seconds:.1f} s")
        await asyncio.sleep(_BETWEEN)
        course.footprints.append(footprint(plant))


async def _bring(plant: Plant, group: Sequence[Planned]) -> None:
    """Bring faults that overlap: each begins in the middle of the one before, and all of them end."""
    starts = itertools.accumulate((item.seconds / 2 for item in group[:-1]), initial=0.0)
    ends = await asyncio.gather(
        *(_later(plant, item, start) for item, start in zip(group, starts, strict=True)),
        return_exceptions=True,
    )
    for error in ends:
        if error is not None:
            raise error


async def _revive(plant: Plant, course: _Course) -> None:
    """Start flowrunner again if it has ended by itself, so that the run can go on."""
    process = plant.flowrunner.process
    if process is None or process.poll() is not None:
        course.failures.append(f"it had ended with {process.returncode if process else None}")
        await plant.start()


def _named(group: Sequence[Planned]) -> str:
    return " + ".join(f"{item.kind} ({item.seconds} s)" for item in group)


async def _later(plant: Plant, item: Planned, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await DISTURBANCES[item.kind].body(plant, item.seconds)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _version() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return " ".join([version("flowrunner-engine"), commit.stdout.strip()]).strip()


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when the verdict is clean; what a run left is kept when it is not."""
    parser = argparse.ArgumentParser(prog="reliability.soak", description="Random faults on real servers.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="the order of faults; drawn when not given")
    parser.add_argument("--out", type=Path, help="write the report to this file too")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    _say(f"seed {seed}, {options.minutes:g} minutes")
    folder = Path(tempfile.mkdtemp(prefix="flowrunner-soak-"))
    run = asyncio.run(soak(folder, options.minutes * 60, seed))
    text = render(run)
    print(text, end="")
    if options.out is not None:
        options.out.write_text(text)
    if broken(run):
        print(f"logs and state are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
