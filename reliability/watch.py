"""Looks at flowrunner from outside all the time: health, books, lag, memory, descriptors, threads."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from reliability.plant import Plant

_PERIOD = 0.5
_SECOND_LOOK = 1.0
_AFTER_PAUSE = 3.0
"""Seconds after a SIGCONT during which the lag is ours and not flowrunner's."""
_SAMPLE = re.compile(r"^(flowrunner_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Footprint:
    """What a process takes: bytes of memory, descriptors, threads."""

    rss: int
    descriptors: int
    threads: int


@dataclass
class Watched:
    """What was seen so far."""

    looks: int = 0
    silent: list[str] = field(default_factory=list)
    """When ``/livez`` did not answer though the process was there."""
    unbalanced: list[str] = field(default_factory=list)
    """When the books did not balance."""
    lags: list[float] = field(default_factory=list)
    """Seconds by which the event loop was late, sampled."""
    own_lags: list[float] = field(default_factory=list)
    """The same without what the process waited for a core of the machine since the look before."""
    core_wait: tuple[int, float] = (0, 0.0)
    """Process and seconds of its last ``core_wait``."""
    rss_most: int = 0
    tracebacks: int = 0


def footprint(plant: Plant) -> Footprint:
    """Return what flowrunner takes now."""
    assert plant.flowrunner.process is not None
    process = psutil.Process(plant.flowrunner.process.pid)
    with process.oneshot():
        return Footprint(process.memory_info().rss, process.num_fds(), process.num_threads())


def core_wait(pid: int) -> float:
    """Return the seconds that the main thread of a process has been ready to run and was given no core."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9


def metric(text: str, name: str) -> float | None:
    """Return the largest sample of a metric; ``None`` when there is none."""
    values = [float(value) for found, _, value in _SAMPLE.findall(text) if found == name]
    return max(values, key=abs, default=None)


def events(text: str, reason: str) -> int:
    """Return how often something happened to the flow's connections."""
    found = [
        float(value)
        for name, labels, value in _SAMPLE.findall(text)
        if name == "flowrunner_connection_events_total" and f'reason="{reason}"' in labels
    ]
    return int(sum(found))


async def watch(plant: Plant, seen: Watched) -> None:
    """Look every half second until cancelled."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(_PERIOD)
        if not plant.must_answer() or time.monotonic() - plant.paused_until < _AFTER_PAUSE:
            continue
        process = plant.flowrunner.process
        status, _ = await plant.get("/livez")
        if status == 200:
            await _look(plant, seen, time.monotonic() - began)
        elif await _still_silent(plant, process):
            seen.silent.append(f"{time.monotonic() - began:.0f} s: /livez answered {status}")


async def _still_silent(plant: Plant, process: subprocess.Popen[bytes] | None) -> bool:
    """Return whether the same process lives, had answered before, and does not answer again."""
    await asyncio.sleep(_SECOND_LOOK)
    if process is None or process is not plant.flowrunner.process or process.poll() is not None:
        return False
    return plant.must_answer() and (await plant.get("/livez"))[0] != 200


async def _look(plant: Plant, seen: Watched, at: float) -> None:
    status, text = await plant.get("/metrics")
    if status != 200 or not plant.must_answer():
        return
    seen.looks += 1
    unaccounted = metric(text, "flowrunner_flow_messages_unaccounted")
    if unaccounted:
        seen.unbalanced.append(f"{at:.0f} s: {unaccounted:.0f} messages unaccounted for")
    lag = metric(text, "flowrunner_event_loop_lag_seconds")
    process = plant.flowrunner.process
    if lag is None or process is None or process.poll() is not None:
        return
    waited = core_wait(process.pid)
    if seen.core_wait[0] == process.pid:
        seen.lags.append(lag)
        seen.own_lags.append(max(0.0, lag - (waited - seen.core_wait[1])))
    seen.core_wait = process.pid, waited
    seen.rss_most = max(seen.rss_most, footprint(plant).rss)
