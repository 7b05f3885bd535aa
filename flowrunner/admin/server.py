"""The HTTP server: uvicorn inside our event loop, without its signal handlers, stopped last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    """A server that leaves signals alone: the process ends when the flows have been drained, not before."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises ``OSError`` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen(128)
    except OSError as error:
        server.close()
        raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return server


async def serve(app: Any, listening: socket.socket, stop: asyncio.Event) -> None:
    """Serve ``app`` until ``stop`` is set; open event streams are then cut."""
    server = Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, ws="none"
        )
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]), name="http")
        await stop.wait()
        server.should_exit = True
