"""Try the HTTP API against its own schema: `python -m fuzz.api SECONDS`, with Schemathesis and a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.process import Flowrunner

FLOW = """\
version: 1
flow: house
nodes:
  hook: { type: http_in }
  calm: { type: throttle, from: hook, every: 1s, emit: last }
  show: { type: debug, from: calm }
"""
ENDLESS = ["/api/v1/events", "/api/v1/tap"]


def run(url: str, seconds: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Send what fits the schema and what does not: no answer may be 5xx without saying when to try again."""
    without = [part for path in ENDLESS for part in ("--exclude-path", path)]
    given = [
        f"--max-time={seconds}",
        "--checks=not_a_server_error",
        "--request-timeout=5",
        "--no-color",
        "--generation-database=none",
    ]
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json"]
    return subprocess.run(
        [*command, *without, *given, "--phases=coverage,fuzzing", "--suppress-health-check=all", *more],
        capture_output=True,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),  # it leaves a folder where it runs
    )


async def main(seconds: int) -> int:
    """Print what was found; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        async with Flowrunner(Path(folder)) as flowrunner:
            flowrunner.write("house.yaml", FLOW)
            await flowrunner.start()
            done = await asyncio.to_thread(run, f"http://127.0.0.1:{flowrunner.port}", seconds)
            sys.stdout.write(done.stdout + done.stderr)
            return done.returncode or await flowrunner.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]))))
