"""A real Prometheus for tests, which scrapes one flowrunner every second."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from tests.servers.programs import free_port, program, start, stop


class Prometheus:
    """The server, and a way to ask it."""

    def __init__(self, folder: Path, target: int) -> None:
        self._port = free_port()
        config = folder / "prometheus.yml"
        job = {"job_name": "flowrunner", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
        self._command = [
            program("prometheus", "prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self._log = folder / "prometheus.log"

    async def __aenter__(self) -> Self:
        self._process = await start(self._command, self._port, self._log)
        return self

    async def __aexit__(self, *_: object) -> None:
        stop(self._process)

    async def without_data(
        self, queries: Collection[str], *, patience: float, but: Collection[str] = ()
    ) -> set[str]:
        """Return the queries without a result, once only those of ``but`` are left or ``patience`` (s) is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while True:
            empty = {query for query in queries if not await asyncio.to_thread(self.ask, query)}
            if empty <= set(but) or loop.time() > deadline:
                return empty
            await asyncio.sleep(1)

    def ask(self, query: str) -> list[Any]:
        """Return what a query finds now; fails with the server's words when it is none."""
        url = f"http://127.0.0.1:{self._port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it has only just started
                return []
            raise AssertionError(f"{query}: {error.read().decode()}") from None
