"""Dead letters of a real process: listed beside it, replayed without a restart, once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import Flowrunner

FLOW = """\
version: 1
nodes:
  lines: {{ type: file_in, path: "{folder}/in.jsonl", follow: true }}
  doubled: {{ type: map, from: lines, set: {{ payload: "={{'n': payload.{field} * 2}}" }} }}
  out: {{ type: file_out, from: doubled, path: "{folder}/out.jsonl" }}
"""


class House(Flowrunner):
    """A flow that reads lines, fails on those without the field, and writes the others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, checkpoint_every="300ms")
        self.folder = folder
        self.flow("value")

    def flow(self, field: str) -> None:
        self.write("house.yaml", FLOW.format(folder=self.folder, field=field))

    def lines(self, *payloads: Any) -> None:
        with (self.folder / "in.jsonl").open("a") as file:
            file.writelines(json.dumps(payload) + "\n" for payload in payloads)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flowrunner", "dead-letters", *arguments, "--state-dir", str(self.state)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def letters(self) -> list[dict[str, Any]]:
        return list(json.loads(self.command("list", "--format", "json", "--limit", "1000").stdout))

    def written(self) -> int:
        """Return how many different messages have been written; after a crash some may stand there twice."""
        path = self.folder / "out.jsonl"
        return len(set(path.read_text().splitlines())) if path.exists() else 0

    def balanced(self) -> bool:
        return self.ledger("house").get("unaccounted") == 0


@pytest.mark.timeout(120)
async def test_letters_are_replayed_while_the_flow_runs_and_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.lines({"value": 1}, {"wert": 2}, {"wert": 3})
    async with house:
        await house.start()
        await house.until(lambda: len(house.letters()) == 2)
        again = house.command("replay", "--all")
        assert "replayed: 2 dead letters\n" == again.stdout, again.stderr
        await house.until(lambda: [letter["tried"] for letter in house.letters()] == [2, 2])

        house.flow("wert")
        await house.until(lambda: house.get("/api/v1/flows/house")[1]["generation"] == 2)
        assert "replayed: 2 dead letters\n" == house.command("replay", "--node", "doubled").stdout
        await house.until(lambda: house.written() == 3)
        assert [] == house.letters()
        assert house.balanced()
        metrics = str(house.get("/metrics")[1])
        assert (
            'flowrunner_dead_letters_ended_total{flow="house",node="doubled",reason="replayed"} 4.0'
            in metrics
        )


@pytest.mark.timeout(180)
async def test_killed_while_it_replays_nothing_is_lost_and_nothing_is_repeated(tmp_path: Path) -> None:
    house = House(tmp_path)
    count = 200
    house.lines(*[{"wert": number} for number in range(count)])
    async with house:
        await house.start()
        await house.until(lambda: house.ledger("house").get("dead_lettered") == count)
        await house.until(lambda: len(house.letters()) == count)
        house.kill()
        house.flow("wert")
        assert "will be replayed" in house.command("replay", "--all", "--wait", "0").stdout
        for _ in range(4):  # in the middle of 200 letters, 64 at a time
            house.launch()
            await house.until(lambda: house.get("/livez")[0] == 200)
            await asyncio.sleep(0.05)
            house.kill()
        await house.start()
        await house.until(lambda: house.letters() == [] and house.written() == count)
        await house.until(lambda: house.ledger("house")["held"] == 0)
        books = house.ledger("house")
        assert (2 * count, count, count, 0) == tuple(
            books[name] for name in ("received", "written", "dead_lettered", "unaccounted")
        )
        assert 0 == await house.stop()


@pytest.mark.timeout(120)
async def test_a_command_that_is_stopped_does_not_disturb_the_flow(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.lines(*[{"wert": number} for number in range(500)])
    async with house:
        await house.start()
        await house.until(lambda: len(house.letters()) > 0)
        command = subprocess.Popen(  # noqa: ASYNC220  # it is stopped at once
            [sys.executable, "-m", "flowrunner", "dead-letters", "list", "--state-dir", str(house.state)],
            stdout=subprocess.DEVNULL,
        )
        await asyncio.sleep(0.15)
        os.kill(command.pid, signal.SIGSTOP)
        try:
            house.lines(*[{"value": number} for number in range(50)])
            await house.until(lambda: house.written() == 50, 15)
            assert house.balanced()
        finally:
            os.kill(command.pid, signal.SIGCONT)
        await asyncio.to_thread(command.wait, 20)
        assert 0 == await house.stop()
