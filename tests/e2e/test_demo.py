"""``flowrunner demo`` in an empty directory: a page, points, and a clean end with Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

from flowrunner.demo.home import NONSENSE, Home


def _points(database: Path) -> int:
    if not database.exists():
        return 0
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        try:
            count = int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
        except sqlite3.OperationalError:
            count = 0
    connection.close()
    return count


async def test_the_demo_shows_a_page_writes_points_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "flowrunner", "demo", "--http-port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = "".join([await asyncio.to_thread(process.stdout.readline) for _ in range(5)])
        page = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert page is not None
        async with asyncio.timeout(40):
            while not _points(tmp_path / "flowrunner-demo" / "climate.sqlite"):
                assert process.poll() is None, process.stdout.read()
                await asyncio.sleep(0.2)
        answer = await asyncio.to_thread(urllib.request.urlopen, page[0])
        assert 'data-flow="climate"' in answer.read().decode()
        answer.close()
        process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(process.wait, 30)
        rest = process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]

    assert 0 == code
    assert "Traceback" not in rest
    assert "rror" not in rest


def test_the_simulated_home_is_a_function_of_time_with_the_faults_of_a_real_one() -> None:
    home, again = Home(0.0), Home(0.0)
    reports = [report for second in range(0, 7200, 60) for report in home.step(float(second))]

    assert reports == [report for second in range(0, 7200, 60) for report in again.step(float(second))]
    values = [json.loads(data) for _, data in reports]
    assert 20 == len({topic for topic, _ in reports})
    assert NONSENSE in [value.get("temperature") for value in values]
    assert {100} >= {value["battery"] for value in values[:1000]}
    assert len(reports) < 10 * (7200 / 2 + 7200 / 3)  # some were silent for minutes
