"""The HTTP server: uvicorn inside our event loop, without its signal handlers, stopped last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 10.0
"""Within which the head of a request must have come, from its first byte or from connecting."""
MOST_CONNECTIONS = 256
"""Open at once: what a flood of them may take of the files that a process may have open."""


class Server(uvicorn.Server):
    """A server that leaves signals alone: the process ends when the flows have been drained, not before."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


class Patient(H11Protocol):
    """HTTP with an end to patience: senders that dribble and floods of connections are cut."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as theirs
        """Wait for a request; hang up when there are too many already."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Take in what has come, and wait for the rest of a head."""
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle  # theirs has no type for "none yet"
        if cycle is None or cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


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
            app,
            http=Patient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]), name="http")
        await stop.wait()
        server.should_exit = True
