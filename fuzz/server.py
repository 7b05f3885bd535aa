"""The HTTP server with its own protocol class, fed with bytes as a socket would bring them."""

from __future__ import annotations

import asyncio
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

from uvicorn import Config
from uvicorn.server import ServerState

from flowrunner.admin.app import create_app
from flowrunner.admin.server import Patient
from tests.admin.harness import Admin

_STEPS = 60
"""Turns of the loop in which a request is answered; streams go on for ever."""


def answers(data: bytes) -> bytes:
    """Return what the server answers to ``data``."""
    if not data:  # which asyncio never hands over
        return b""
    loop, config = _loop(), _config()
    return loop.run_until_complete(_exchange(config, data))


async def _exchange(config: Config, data: bytes) -> bytes:
    transport = _Transport()
    protocol = Patient(config, ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(cast("asyncio.Transport", transport))
    protocol.data_received(data)
    for _ in range(_STEPS):
        if not protocol.tasks:
            break
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    for task in list(protocol.tasks):
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)
    return bytes(transport.written)


class _Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self._closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self._closing = True

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        """Nothing more comes."""

    resume_reading = pause_reading


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _config() -> Config:
    process = Admin(Path(tempfile.mkdtemp(prefix="flowrunner-fuzz-"))).process
    app = create_app(process, None, local=True)
    config = Config(app, http=Patient, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    return config
