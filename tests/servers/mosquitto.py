"""A real Mosquitto for tests: private brokers on free ports, with what a test asks for."""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_START_SECONDS = 10.0


@functools.cache
def program(name: str) -> str:
    """Return the path of one of Mosquitto's programs, installing the Debian packages where that is possible."""
    found = shutil.which(name, path=_PATH)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "--no-install-recommends", "mosquitto", "mosquitto-clients"]
        subprocess.run(
            install, check=True, capture_output=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        found = shutil.which(name, path=_PATH)
    if found is None:
        raise RuntimeError(f"{name} is not installed: install the packages mosquitto and mosquitto-clients")
    return found


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Whether somebody accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Certificates:
    """A CA of our own and what it has signed, as PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca = folder / "ca.crt"
        self._key = folder / "ca.key"
        self._openssl(
            "req", "-x509", "-subj", "/CN=test CA", "-days", "2", "-keyout", self._key, "-out", self.ca
        )

    def issue(self, name: str, subject_alternative: str) -> tuple[Path, Path]:
        """Return certificate and key for a server or client."""
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        extensions = [
            "-addext",
            f"subjectAltName={subject_alternative}",
            "-addext",
            "basicConstraints=CA:FALSE",
        ]
        signer: list[str | Path] = ["-CA", self.ca, "-CAkey", self._key, "-days", "2"]
        self._openssl(
            "req", "-x509", "-subj", f"/CN={name}", *signer, *extensions, "-keyout", key, "-out", certificate
        )
        return certificate, key

    @staticmethod
    def _openssl(command: str, *arguments: str | Path) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run(["openssl", command, *key, *map(str, arguments)], check=True, capture_output=True)


class Mosquitto:
    """One broker, to be started, stopped, killed and started again on the same port with the same folder."""

    def __init__(
        self,
        folder: Path,
        *,
        persistence: bool = False,
        users: dict[str, str] | None = None,
        acl: str | None = None,
        server: tuple[Path, Path] | None = None,
        options: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"user {getpass.getuser()}",  # as root it would become `mosquitto` and not reach the folder
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            f"log_dest file {folder / 'mosquitto.log'}",
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "max_queued_messages 0",  # by default the newest are dropped beyond 1000 a client
        ]
        if users:
            lines.append(f"password_file {self._passwords(users)}")
        if acl is not None:
            (folder / "acl").write_text(acl)
            (folder / "acl").chmod(0o700)
            lines.append(f"acl_file {folder / 'acl'}")
        if server is not None:
            lines += [f"certfile {server[0]}", f"keyfile {server[1]}"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join([*lines, options, ""]))

    def _passwords(self, users: dict[str, str]) -> Path:
        file = self._folder / "passwords"
        file.touch(0o600)
        for user, password in users.items():
            subprocess.run(
                [program("mosquitto_passwd"), "-b", file, user, password], check=True, capture_output=True
            )
        return file

    async def start(self) -> Self:
        """Start and wait until it listens."""
        self._process = subprocess.Popen(  # noqa: ASYNC220
            [program("mosquitto"), "-c", self._config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(_START_SECONDS):
            while not listening(self.port):
                if self._process.poll() is not None:
                    raise RuntimeError(f"mosquitto does not start: {self.log()}")
                await asyncio.sleep(0.01)
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, with a save of its state; ``SIGKILL`` for none."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def notify(self, number: int) -> None:
        """Send it a signal that does not end it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def restart(self, number: int = signal.SIGTERM) -> None:
        """End and start again."""
        self.stop(number)
        await self.start()

    def log(self) -> str:
        """Return what it has logged."""
        file = self._folder / "mosquitto.log"
        return file.read_text() if file.exists() else ""

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
