"""The API, tried with what fits its schema and what does not: no answer is a failure of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fuzz.api import FLOW, run
from tests.e2e.process import Flowrunner


@pytest.mark.timeout(120)
async def test_no_request_makes_the_api_fail(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as runner:
        runner.write("house.yaml", FLOW)
        await runner.start()
        url = f"http://127.0.0.1:{runner.port}"
        done = await asyncio.to_thread(run, url, 15, "--max-examples=5", "--seed=1")

        assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-1000:]
        assert "passed" in done.stdout
        assert 0 == await runner.stop()
        assert "Traceback" not in runner.log.read_text()
        assert "Exception in ASGI" not in runner.log.read_text()
