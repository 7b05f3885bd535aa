"""A TCP proxy that a test cuts: a network that fails between a client and a server that both live on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Self

from tests.servers.programs import free_port

_LINGER_NOT = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""``SO_LINGER`` on, of no seconds: a close is then a reset."""


class CutProxy:
    """Passes bytes both ways while it is ``connected``."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.connections = 0
        self.delay = 0.0
        """Seconds by which every piece comes later."""
        self.chunk: int | None = None
        """Bytes that are passed on at once, ``None`` for all there are."""
        self._frozen = False
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Break all connections and accept no more."""
        assert self._server is not None
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        """Break all connections, and accept new ones."""
        for writer in self._writers:
            writer.transport.abort()

    def reset(self) -> None:
        """Break all connections with a reset (RST) in place of an orderly end."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()

    def freeze(self) -> None:
        """Pass nothing on any more, and say nothing of it."""
        self._frozen = True

    def thaw(self) -> None:
        """Pass on again; connections that were frozen have lost bytes and end."""
        self._frozen = False
        self.drop()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, there_writer))
                group.create_task(self._copy(there_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not self._frozen:
                    await self._forward(writer, data)
        writer.close()

    async def _forward(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.chunk or len(data)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            if self.chunk:
                await asyncio.sleep(0)
