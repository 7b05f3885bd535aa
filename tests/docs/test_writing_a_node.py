"""Every file that docs/writing-a-node.md shows is written to a directory, installed and used."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowrunner import NANOSECONDS, Context, Message, Transform
from tests.nodes.harness import START, RecordingLog, SetClock, message, run_transform, take_up

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "writing-a-node.md").read_text()
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TYPES = [name for name in FILES if name.startswith("flowrunner_")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files, and what an installer would write beside them."""
    path = tmp_path_factory.mktemp("package")
    for name, text in FILES.items():
        (path / name).write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entry_points = configparser.ConfigParser()
    entry_points.read_dict(project["entry-points"])
    with (info / "entry_points.txt").open("w") as file:
        entry_points.write(file)
    return path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the directory, with the package installed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "FLOWRUNNER_HTTP_PORT": "0"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=50,
        check=False,
    )


def test_every_block_of_code_has_the_name_of_its_file() -> None:
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(FILES)


def test_the_first_node_has_ten_lines() -> None:
    code = FILES["flowrunner_celsius.py"].splitlines()

    assert len(code) <= 10


def test_every_file_is_an_entry_point_and_a_module() -> None:
    project = tomllib.loads(FILES["pyproject.toml"])
    entries = project["project"]["entry-points"]["flowrunner.nodes"]

    modules = {entry.partition(":")[0] for entry in entries.values()}
    assert (
        {name.removesuffix(".py") for name in TYPES}
        == modules
        == set(project["tool"]["setuptools"]["py-modules"])
    )


def test_the_tests_on_the_page_pass(folder: Path) -> None:
    done = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_celsius.py")

    assert (0, True) == (done.returncode, "2 passed" in done.stdout), done.stdout


@pytest.mark.parametrize("flow", ["celsius.yaml", "all.yaml"])
def test_the_flows_on_the_page_are_valid(folder: Path, flow: str) -> None:
    done = python(folder, "-m", "flowrunner", "validate", "--strict", flow)

    assert (0, "1 flow, no errors\n") == (done.returncode, done.stdout + done.stderr)


def test_the_reference_page_of_the_type_is_printed(folder: Path) -> None:
    done = python(folder, "-m", "flowrunner", "nodes", "celsius")

    assert (0, True) == (
        done.returncode,
        "Turn a payload of degrees Fahrenheit into degrees Celsius." in done.stdout,
    )


def test_the_first_flow_runs(folder: Path) -> None:
    done = python(folder, "-m", "flowrunner", "run", "--once", "celsius.yaml")

    assert (0, "200.0\n") == (done.returncode, (folder / "celsius.jsonl").read_text()), done.stdout


def test_all_types_on_the_page_run_together(folder: Path) -> None:
    done = python(folder, "-m", "flowrunner", "run", "--once", "all.yaml")

    assert 0 == done.returncode, done.stdout
    assert ["1\n2\n", "-16.11\n-15.56\n-15.0\n"] == [
        (folder / name).read_text() for name in ("small.txt", "warm.txt")
    ]


def test_the_transforms_on_the_page_account_for_every_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    above = importlib.import_module("flowrunner_above").Above
    messages = [message(payload) for payload in (1, 5, "high")]

    options = {"value": "payload", "limit": 2}
    outcome = run_transform(above, options, [messages], wired=["out", "below"])
    unwired = run_transform(above, options, [messages])

    assert ([5], [1], ["`value` must be a number"]) == (
        outcome.payloads(),
        outcome.payloads("below"),
        outcome.reasons,
    )
    assert (0, 1) == (outcome.context.counters.filtered, unwired.context.counters.filtered)


def test_the_state_of_the_type_with_a_timer_survives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    quiet = importlib.import_module("flowrunner_quiet")
    settings = quiet.Config(type="quiet", after="10s")

    def make() -> Transform[Any]:
        node: Transform[Any] = quiet.Quiet(
            settings, Context("flow", "node", log=RecordingLog(), clock=SetClock())
        )
        return node

    first, second, out = make(), make(), list[Message]()
    first.on_batch([message(topic="a"), message(topic="a", time=START + NANOSECONDS)])
    take_up(second, first)
    second.advance(START + 60 * NANOSECONDS, out)

    due = START + 11 * NANOSECONDS
    assert [Message("a", {"messages": 2}, due, clock=due)] == out
    assert 1 == second.context.counters.created
    assert {"a": 2} == first.upgrade([["a", 2]], 1)


def test_the_types_on_the_page_are_typed(folder: Path) -> None:
    done = python(folder, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-incremental", *TYPES)

    assert 0 == done.returncode, done.stdout
