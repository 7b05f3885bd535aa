"""Virtual time: a day passes at once, in order, and a deadlock is an error instead of a wait."""

from __future__ import annotations

import asyncio
import time

import pytest

from flowrunner import NANOSECONDS
from flowrunner.testing import VirtualClock, run_virtual


def test_a_day_passes_at_once_and_in_order() -> None:
    async def scenario() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), list[tuple[str, float]]()

        async def note(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        await asyncio.gather(note("b", 86_400), note("a", 60), note("c", 86_400.5))
        return seen

    before = time.monotonic()
    assert [("a", 60.0), ("b", 86_400.0), ("c", 86_400.5)] == run_virtual(scenario())
    assert time.monotonic() - before < 2


def test_the_clock_follows_the_loop() -> None:
    async def scenario() -> tuple[int, float]:
        clock = VirtualClock(5 * NANOSECONDS)
        await asyncio.sleep(2.5)
        return clock.now(), clock.monotonic()

    assert (7_500_000_000, 2.5) == run_virtual(scenario())


def test_the_clock_stands_still_while_a_thread_works() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        ticks: list[float] = []
        loop.call_later(10, lambda: ticks.append(loop.time()))
        await asyncio.to_thread(time.sleep, 0.05)
        assert [] == ticks
        await asyncio.sleep(11)
        assert [10.0] == ticks
        return loop.time()

    assert 11.0 == run_virtual(scenario())


def test_a_deadlock_is_an_error() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="deadlock: every task is blocked"):
        run_virtual(scenario())


def test_what_the_work_raises_comes_out() -> None:
    async def scenario() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtual(scenario())
