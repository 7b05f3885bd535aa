"""Programs of Debian packages for tests: found, or installed where that is possible; started and ended."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_START_SECONDS = 20.0


@functools.cache
def program(name: str, package: str) -> str:
    """Return the path of a program, installing its Debian package when it is missing and we are root."""
    found = shutil.which(name, path=_PATH)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "--no-install-recommends", package]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(install, check=True, capture_output=True, env=quiet)
        found = shutil.which(name, path=_PATH)
    if found is None:
        raise RuntimeError(f"{name} is not installed: install the package {package}")
    return found


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def start(command: Sequence[str | Path], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a server and return once it listens; its output goes to ``log``."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    async with asyncio.timeout(_START_SECONDS):
        while not _listening(port):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} does not start: {log.read_text()[-2000:]}")
            await asyncio.sleep(0.02)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server at once: what it wrote is thrown away anyway."""
    process.kill()
    process.wait(10)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
