"""A real Home Assistant Core for tests: installed once into a cache, configured and onboarded for each session."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import connect

from tests.servers.programs import free_port

VERSION = "2025.4.4"
_CACHE = Path(__file__).parents[2] / ".cache" / f"home-assistant-{VERSION}"
_INSTALL_SECONDS = 900
_START_SECONDS = 120.0

CONFIGURATION = """\
homeassistant:
  name: Test
  latitude: 52.37
  longitude: 4.89
  elevation: 2
  unit_system: metric
  time_zone: UTC
  country: NL
  currency: EUR
http:
  server_host: 127.0.0.1
  server_port: {port}
logger:
  default: warning
auth:
onboarding:
api:
websocket_api:
config:
history:
recorder:
  commit_interval: {commit_interval}
  exclude:
    entities: [input_number.unrecorded]
input_boolean:
  lamp: {{name: Lamp}}
input_number:
  target: {{name: Target, min: -50, max: 100000, step: 0.1, unit_of_measurement: "°C", mode: box}}
  power: {{name: Power, min: 0, max: 100000, step: 1, unit_of_measurement: W, mode: box}}
  unrecorded: {{name: Unrecorded, min: 0, max: 100000, step: 1, mode: box}}
"""


@functools.cache
def python() -> str:
    """Return a CPython that this version of Home Assistant runs on. Raises where there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates: list[str | Path | None] = [
        os.environ.get("HOME_ASSISTANT_PYTHON"),
        shutil.which("python3.13"),
    ]
    candidates += sorted(root.glob("versions/3.13*/bin/python3"), reverse=True)
    candidates += Path("/opt/python").glob("*/bin/python3")
    probe = "import ensurepip, ssl, sqlite3, sys; sys.exit(sys.version_info[:2] != (3, 13))"
    for candidate in candidates:
        if candidate and subprocess.call([candidate, "-c", probe], stderr=subprocess.DEVNULL) == 0:
            return str(candidate)
    raise RuntimeError(
        f"Home Assistant {VERSION} needs Python 3.13: install it, or set HOME_ASSISTANT_PYTHON to its path"
    )


def install() -> Path:
    """Return the virtual environment with Home Assistant in it; the first time that takes a minute or two."""
    venv = _CACHE / "venv"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        done = _CACHE / "installed"
        if not done.exists():
            _install_into(venv)
            done.touch()
    return venv


def _install_into(venv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    inside = venv / "bin" / "python"
    commands: list[list[str | Path]] = [
        [python(), "-m", "venv", venv],
        [inside, "-m", "pip", "install", "--quiet", "uv"],  # pip itself needs nine minutes for the next
        [venv / "bin" / "uv", "pip", "install", "--quiet", "--python", inside, f"homeassistant=={VERSION}"],
    ]
    for command in commands:
        made = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        if made.returncode:
            raise RuntimeError(f"Home Assistant cannot be installed: {made.stderr[-2000:]}")


class HomeAssistant:
    """One instance, to be started, killed and started again with the same folder and port."""

    def __init__(self, folder: Path, *, commit_interval: int = 5, configuration: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self._process: subprocess.Popen[bytes] | None = None
        text = CONFIGURATION.format(port=self.port, commit_interval=commit_interval) + configuration
        (folder / "configuration.yaml").write_text(text)

    async def start(self) -> Self:
        """Start, onboard the first time, and wait until it has come up."""
        venv = await asyncio.to_thread(install)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PATH": f"{venv}/bin{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(venv),
            "HOME": str(self.folder),
        }
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [venv / "bin" / "hass", "-c", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
                cwd=self.folder,
            )
        async with asyncio.timeout(_START_SECONDS):
            if not self.token:
                self.token = await self._onboard(await self._wait_for(lambda: self._get("/api/onboarding")))
            while (await self._wait_for(lambda: self._get("/api/config")))["state"] != "RUNNING":
                await asyncio.sleep(0.1)
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it in order, or with ``SIGKILL``."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    async def set(self, entity: str, state: str, **attributes: Any) -> None:
        """Write a state through the REST API, as a script of a user may."""
        await asyncio.to_thread(
            self._post, f"/api/states/{entity}", {"state": state, "attributes": attributes}
        )

    async def act(self, action: str, **data: Any) -> None:
        """Call an action such as ``input_number.set_value``."""
        await asyncio.to_thread(self._post, f"/api/services/{action.replace('.', '/')}", data)

    async def command(self, type: str, **fields: Any) -> Any:
        """Give a command of the WebSocket API, as an administrator, and return its result."""
        async with connect(self._websocket, max_size=None, proxy=None) as socket:
            await socket.recv()
            await socket.send(json.dumps({"type": "auth", "access_token": self.token}))
            await socket.recv()
            await socket.send(json.dumps({"id": 1, "type": type, **fields}))
            answer = json.loads(await socket.recv())
        if not answer["success"]:
            raise RuntimeError(f"{type}: {answer['error']}")
        return answer["result"]

    async def add_user(self, name: str) -> str:
        """Make a user who is no administrator and return a token for it."""
        user = (await self.command("config/auth/create", name=name, group_ids=["system-users"]))["user"]
        await self.command(
            "config/auth_provider/homeassistant/create", user_id=user["id"], username=name, password=name
        )
        return await asyncio.to_thread(self._log_in, name)

    def log(self) -> str:
        """Return what it has printed."""
        return (self.folder / "output.log").read_text()

    @property
    def _websocket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/websocket"

    async def _wait_for(self, get: Callable[[], Any]) -> Any:
        """Return the first answer: while it starts there is none, or 404."""
        while True:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"Home Assistant does not start: {self.log()[-2000:]}")
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(get)
            await asyncio.sleep(0.1)

    async def _onboard(self, steps: Any) -> str:
        """Make the first user and return a long-lived token for it."""
        assert not any(step["done"] for step in steps)
        user = {"name": "Test", "username": "test", "password": "test", "language": "en"}
        made = await asyncio.to_thread(
            self._post, "/api/onboarding/users", {"client_id": f"{self.url}/", **user}
        )
        self.token = await asyncio.to_thread(self._exchange, made["auth_code"])
        token: str = await self.command("auth/long_lived_access_token", client_name="test", lifespan=365)
        return token

    def _log_in(self, name: str) -> str:
        client = {"client_id": f"{self.url}/"}
        handler = {"handler": ["homeassistant", None], "redirect_uri": f"{self.url}/"}
        flow = self._post("/auth/login_flow", {**client, **handler})
        answer = {**client, "username": name, "password": name}
        return self._exchange(self._post(f"/auth/login_flow/{flow['flow_id']}", answer)["result"])

    def _exchange(self, code: str) -> str:
        """Return the short-lived token for a code."""
        form = {"grant_type": "authorization_code", "client_id": f"{self.url}/", "code": code}
        token: str = self._fetch("/auth/token", urllib.parse.urlencode(form).encode())["access_token"]
        return token

    def _get(self, path: str) -> Any:
        return self._fetch(path, None)

    def _post(self, path: str, data: Any) -> Any:
        return self._fetch(path, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _fetch(self, path: str, body: bytes | None, headers: dict[str, str] | None = None) -> Any:
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.url + path, body, {**(headers or {}), **authorization})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or b"null")
