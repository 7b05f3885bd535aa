"""A sink that is down, in a whole installation: kill -9 in between, and what others notice of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.sink_faults import (
    Evidence,
    killed_with_an_outbox,
    one_sink_stalls,
    percentile,
    the_token_file_is_corrected,
)
from tests.servers.fake_influx import Fault, Hang, Reply


def _nothing_lost(found: Evidence) -> None:
    assert (0, 0) == (found.lost, found.others)
    assert (0, 0) == (found.held, found.unaccounted)
    assert found.made == found.kept


@pytest.mark.timeout(180)
async def test_an_outbox_survives_kill_9_at_any_time_with_its_order(tmp_path: Path) -> None:
    found = await killed_with_an_outbox(tmp_path)

    _nothing_lost(found)
    assert found.in_order
    assert found.made == found.kept_during, "the sibling was held back"


@pytest.mark.timeout(120)
async def test_a_token_that_is_corrected_in_its_file_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    found = await the_token_file_is_corrected(tmp_path)

    _nothing_lost(found)
    assert found.recovered_in < 45


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [pytest.param(Hang(), id="black hole"), pytest.param(Reply(503), id="503")])
async def test_a_stalled_sink_does_not_stop_another_flow(tmp_path: Path, fault: Fault) -> None:
    found = await one_sink_stalls(tmp_path, fault)

    _nothing_lost(found)
    assert found.in_order
    assert found.kept_during < found.made, "without an outbox its siblings wait"
    assert percentile(found.lags, 0.5) < 1.0
    assert percentile(found.lags, 0.99) < 3.0
