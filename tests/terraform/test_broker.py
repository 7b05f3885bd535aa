"""The chart of the broker: what it renders, run by the real Mosquitto."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python.chart import Chart

from tests.servers.mosquitto import free_port, listening, program
from tests.terraform.core import TERRAFORM

pytestmark = pytest.mark.server

PASSWORDS = {"flowrunner": "päss wörd $HOME '\"", "home-assistant": "other"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("broker"), free_port()
    paths = {"/run/mosquitto": f"{folder}/users", "/run/passwords": f"{folder}/passwords"}
    paths["/mosquitto/data"] = f"{folder}/data"
    for path in paths.values():
        Path(path).mkdir()
    for user, password in PASSWORDS.items():
        (folder / "passwords" / user).write_text(password)
    given = {"users": {"secret": "users", "names": sorted(PASSWORDS)}}
    objects: list[dict[str, Any]] = [
        each
        for text in Chart.load(TERRAFORM / "charts" / "mosquitto")
        .render(given, name="mosquitto", namespace="data")
        .values()
        for each in yaml.safe_load_all(text)
    ]
    (config,) = (each["data"]["mosquitto.conf"] for each in objects if each["kind"] == "ConfigMap")
    (pod,) = (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "StatefulSet")
    script = pod["initContainers"][0]["args"][0]
    for path, here in paths.items():
        script, config = script.replace(path, here), config.replace(path, here)
    program("mosquitto_passwd")
    subprocess.run(["sh", "-euc", script], check=True, timeout=20)
    file = folder / "mosquitto.conf"
    file.write_text(config.replace("listener 1883", f"listener {port} 127.0.0.1\nuser root"))
    with subprocess.Popen([program("mosquitto"), "-c", str(file)], stdout=subprocess.DEVNULL) as broker:
        while not listening(port):
            assert broker.poll() is None
            time.sleep(0.05)
        yield port
        broker.terminate()


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        *[pytest.param(user, password, 0, id=user) for user, password in PASSWORDS.items()],
        pytest.param("flowrunner", "other", 5, id="the password of another"),
        pytest.param("nobody", "", 5, id="nobody"),
        pytest.param(None, None, 5, id="no name"),
    ],
)
def test_only_users_with_their_password_are_let_in(
    port: int, user: str | None, password: str | None, code: int
) -> None:
    login = ["-u", user, "-P", password or ""] if user else []

    done = subprocess.run(
        [program("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port), "-t", "a", "-m", "b", *login],
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == code, done.stderr


def test_a_broker_without_users_is_refused_by_the_chart() -> None:
    with pytest.raises(Exception, match="nobody may use the broker without a password"):
        Chart.load(TERRAFORM / "charts" / "mosquitto").render({}, name="mosquitto", namespace="data")
