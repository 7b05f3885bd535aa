"""Other users of the machine see nothing of the state, even in a directory that lets everybody in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tests.e2e.process import Flowrunner

FLOW = """\
version: 1
flow: house
nodes:
  tick: { type: inject, every: 100ms }
  bad: { type: map, from: tick, set: { payload: "=payload.nothing.there" } }
  calm: { type: throttle, from: tick, every: 1s, emit: last }
  show: { type: debug, from: [bad, calm] }
"""


def _within_reach(folder: Path) -> list[str]:
    """Return the files below a folder that a foreign user could open."""
    found = []
    for path in folder.iterdir():
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            found += _within_reach(path) if mode & 0o001 else []
        elif mode & 0o006:
            found.append(path.name)
    return found


async def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    before = os.umask(0)
    try:
        async with Flowrunner(tmp_path, checkpoint_every="200ms") as runner:
            runner.write("house.yaml", FLOW)
            await runner.start()
            await runner.until(lambda: runner.ledger("house").get("dead_lettered", 0) > 3)
            assert 0 == await runner.stop()
    finally:
        os.umask(before)

    assert [] == _within_reach(tmp_path / "state")
    assert len([path for path in (tmp_path / "state").rglob("*") if path.is_file()]) > 2


async def test_a_new_state_directory_is_closed(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as runner:
        runner.write("house.yaml", FLOW)
        await runner.start()
        assert 0 == await runner.stop()

    assert 0o700 == stat.S_IMODE((tmp_path / "state").stat().st_mode)
