"""A real VictoriaMetrics for tests: a second opinion on what goes over the wire.

It takes `/api/v2/write` as it is. It keeps no strings, cuts times to milliseconds and names a series
`measurement_field`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers.programs import free_port, program, start, stop


class VictoriaMetrics:
    """The server and a way to ask what it holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        command: list[str | Path] = [
            program("victoria-metrics", "victoria-metrics"),
            f"-storageDataPath={self._folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self._port}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=64MiB",
        ]
        self._process = await start(command, self._port, self._folder / "victoriametrics.log")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        stop(self._process)

    async def read(self, selector: str) -> list[dict[str, Any]]:
        """Return the series that a selector matches: ``metric``, ``values`` and ``timestamps`` (milliseconds)."""
        await asyncio.to_thread(self._get, "/internal/force_flush")
        query = urllib.parse.urlencode({"match[]": selector})
        text = await asyncio.to_thread(self._get, f"/api/v1/export?{query}")
        return [json.loads(row) for row in text.splitlines()]

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            text: str = response.read().decode()
        return text
