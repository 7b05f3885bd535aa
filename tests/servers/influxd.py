"""A real InfluxDB 1.6 for tests, with a face of version 2 in front of it.

No package of InfluxDB 2 exists for Debian; the storage engine of 1.6 is its ancestor. The face takes
`/api/v2/write`, checks the token, unpacks, translates the precision and gives errors the shape they have in version 2.
What 2.7 does beyond that (limits, partial writes over several shards) is the business of `fake_influx`.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers.fake_influx import TOKEN
from tests.servers.programs import free_port, program, start, stop

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[monitor]
  store-enabled = false
"""
_CODES = {
    400: "invalid",
    401: "unauthorized",
    404: "not found",
    413: "request too large",
    422: "unprocessable entity",
}
_PRECISIONS = {"ns": "n", "us": "u", "ms": "ms", "s": "s"}


class Influxd:
    """The server (``v1_url``), its face of version 2 (``url``, ``token``), and a way to ask what it holds."""

    token = TOKEN

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._face: asyncio.Server | None = None

    @property
    def v1_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        assert self._face is not None
        host, port = self._face.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        config = self._folder / "influxdb.conf"
        config.write_text(_CONFIG.format(folder=self._folder, http=self._port, rpc=free_port()))
        command: list[str | Path] = [program("influxd", "influxdb"), "run", "-config", config]
        self._process = await start(command, self._port, self._folder / "influxd.log")
        self._face = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._face is not None
        assert self._process is not None
        self._face.close()
        stop(self._process)

    def freeze(self) -> None:
        """Let the server stand still: connections are accepted, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with what has arrived meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def create(self, database: str) -> None:
        """Create a database, which is a bucket to version 2."""
        await self._query(f'CREATE DATABASE "{database}"', "")

    async def read(self, database: str, measurement: str) -> list[dict[str, str]]:
        """Return the points of a measurement in the order of time, with all values as text."""
        text = await self._query(f'SELECT * FROM "{measurement}" ORDER BY time', database)
        return [
            {k: v for k, v in row.items() if v and k != "name"} for row in csv.DictReader(io.StringIO(text))
        ]

    async def _query(self, query: str, database: str) -> str:
        form = urllib.parse.urlencode({"q": query, "db": database, "epoch": "ns"}).encode()
        request = urllib.request.Request(f"{self.v1_url}/query", form, {"Accept": "application/csv"})
        status, body = await asyncio.to_thread(_ask, request)
        assert status == 200, body
        return body.decode()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    k.lower(): v.strip() for k, _, v in (row.partition(":") for row in head[1:] if row)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, answer = await self._answer(head[0].split(" ")[1], headers, body)
                content = b"" if answer is None else json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def _answer(self, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        url = urllib.parse.urlsplit(target)
        if url.path != "/api/v2/write":
            return 204, None
        if headers.get("authorization") != f"Token {self.token}":
            return _error(401, "unauthorized access")
        query = dict(urllib.parse.parse_qsl(url.query))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        v1 = urllib.parse.urlencode({"db": query["bucket"], "precision": _PRECISIONS[query["precision"]]})
        status, content = await asyncio.to_thread(
            _ask, urllib.request.Request(f"{self.v1_url}/write?{v1}", body, method="POST")
        )
        if status < 300:
            return status, None
        message = json.loads(content).get("error", "")
        if message.startswith("partial write"):
            return _error(422, f"failure writing points to database: {message}")
        return _error(status, message)


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"code": _CODES.get(status, "internal error"), "message": message}


def _ask(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
