"""Virtual time: exact to the nanosecond, however long it has been going."""

import asyncio
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner.message import NANOSECONDS
from flowrunner.testing import VirtualClock, run_virtual

CENTURY = 36_525 * 86_400 * NANOSECONDS


async def sleep_until(clock: VirtualClock, moment: int) -> int:
    """Sleep as the pump does, and return how often it had to look."""
    looks = 0
    while (now := clock.now()) < moment:
        await asyncio.sleep((moment - now) / NANOSECONDS)
        looks += 1
    return looks


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, CENTURY // 100), min_size=1, max_size=20))
def test_every_nanosecond_is_reached_in_a_few_looks_even_after_years(pauses: list[int]) -> None:
    async def main() -> None:
        clock = VirtualClock()
        for pause in pauses:
            moment = clock.now() + pause
            assert await sleep_until(clock, moment) <= 3
            assert 0 <= clock.now() - moment <= 1000

    run_virtual(main())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 43_200 * NANOSECONDS), min_size=1, max_size=20))
def test_time_is_exact_for_a_fortnight(pauses: list[int]) -> None:
    async def main() -> None:
        clock = VirtualClock(1_772_359_200 * NANOSECONDS)
        for pause in pauses:
            moment = clock.now() + pause
            await sleep_until(clock, moment)
            assert moment == clock.now()

    run_virtual(main())


def test_a_century_takes_no_time() -> None:
    started = time.perf_counter()

    run_virtual(asyncio.sleep(CENTURY / NANOSECONDS))

    assert time.perf_counter() - started < 1
