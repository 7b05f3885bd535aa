"""``flowrunner run`` as a process of its own, as an operator has it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.servers.mosquitto import free_port

START_SECONDS = 20.0


class Flowrunner:
    """One installation: a folder with flows, a state directory, and a process that can be killed and started."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.flows = folder / "flows"
        self.flows.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self.log = folder / "flowrunner.log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "FLOWRUNNER_STATE_DIR": str(self.state),
            "FLOWRUNNER_HTTP_PORT": str(self.port),
            "FLOWRUNNER_LOG_FORMAT": "json",
            **{f"FLOWRUNNER_{name.upper()}": value for name, value in settings.items()},
        }

    def write(self, name: str, text: str) -> Path:
        """Write a flow file."""
        file = self.flows / name
        file.write_text(text)
        return file

    def launch(self, prefix: Sequence[str] = ()) -> None:
        """Start the process; ``prefix`` is a program that becomes it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "flowrunner", "run", str(self.flows)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def start(self) -> Self:
        """Start the process and wait until it is ready."""
        self.launch()
        await self.until(lambda: self.get("/readyz")[0] == 200, START_SECONDS)
        return self

    def kill(self) -> None:
        """End the process as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def stop(self) -> int:
        """Ask the process to end, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 40)

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and body (JSON where it is) of a GET; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, _body(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _body(error.read())
        except (OSError, http.client.HTTPException):  # the process may end in the middle of its answer
            return 0, None

    def ledger(self, flow: str) -> dict[str, Any]:
        """Return the books of a flow; empty when nobody answers."""
        status, body = self.get(f"/api/v1/flows/{flow}")
        return dict(body["ledger"]) if status == 200 else {}

    async def until(self, condition: Any, seconds: float = 30.0) -> None:
        """Wait until a condition holds; fail with the log when it does not, or when the process has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not await asyncio.to_thread(condition):
                    if self.process is not None and self.process.poll() is not None:
                        raise AssertionError(f"it has ended: {self.log.read_text()[-3000:]}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not in {seconds} s; log: {self.log.read_text()[-3000:]}") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def _body(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
