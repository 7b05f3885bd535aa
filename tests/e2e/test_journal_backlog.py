"""A backlog that is larger than the memory of the process that drains it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.scenarios.journal_backlog import drain


@pytest.mark.timeout(240)
async def test_200_mib_of_backlog_are_drained_within_128_mib_of_memory(tmp_path: Path) -> None:
    outcome, peak = await drain(tmp_path, 200 * 2**20)

    assert (0, 0) == (outcome.lost, outcome.duplicated)
    assert peak <= 128 * 2**20
