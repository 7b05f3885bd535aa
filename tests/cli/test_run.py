"""What ``flowrunner run`` refuses before it starts, in this process."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from flowrunner.admin.server import listen
from flowrunner.cli.exits import EX_CONFIG, EX_USAGE
from flowrunner.cli.run import run

FLOW = """\
version: 1
delivery: memory
nodes:
  tick: { type: inject, once: true }
  show: { type: debug, from: tick }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    return tmp_path


def _run(folder: Path, **given: Any) -> int:
    return run([folder / "flows"], {"state_dir": folder / "state", "http_port": 0, **given})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("http_port", 70_000, "setting FLOWRUNNER_HTTP_PORT: Input should be less than or equal to 65535"),
        (
            "checkpoint_every",
            "10",
            "setting FLOWRUNNER_CHECKPOINT_EVERY: `checkpoint_every` needs a unit, got 10\n",
        ),
        ("checkpoint_every", "10", "  = help: write a number and a unit"),
        ("reload_poll", "0s", "setting FLOWRUNNER_RELOAD_POLL: `reload_poll` must be more than zero"),
    ],
)
def test_a_setting_that_cannot_be_is_said(
    name: str, value: Any, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert EX_USAGE == _run(folder, **{name: value})
    assert said in capsys.readouterr().err


def test_all_settings_that_cannot_be_are_said_at_once_and_no_secret_with_them(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWRUNNER_API_TOKEN", "hunter2")

    assert EX_USAGE == _run(folder, http_port="x", log_level="loud")
    said = capsys.readouterr().err
    assert 2 == said.count("error: setting")
    assert "hunter2" not in said


def test_a_port_that_is_taken_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "flows" / "a.yaml").write_text(FLOW)
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        assert EX_USAGE == _run(folder, http_port=port)
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in capsys.readouterr().err


def test_a_state_directory_that_is_taken_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "state").mkdir()
    with (folder / "state" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert EX_USAGE == _run(folder)
    assert "state is in use by another flowrunner" in capsys.readouterr().err


def test_a_state_directory_that_is_a_file_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "state").write_text("")

    assert EX_USAGE == _run(folder)
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no flow file in this directory"),
        ({"a.yaml": "version: ["}, "a.yaml:1:"),
        ({"a.yaml": FLOW.replace("debug", "debg")}, "a.yaml:5:"),
        ({"a.yaml": "version: 1\nconnections: {}\n"}, "a flow has `nodes:`"),
    ],
)
def test_without_a_valid_flow_there_is_nothing_to_run(
    files: dict[str, str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in files.items():
        (folder / "flows" / name).write_text(text)

    assert EX_CONFIG == _run(folder)
    told = capsys.readouterr().err
    assert said in told
    assert "error: there is no valid flow to run" in told


def test_a_path_that_does_not_exist_is_wrong_use_as_it_is_of_validate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "flows").rmdir()

    assert EX_USAGE == _run(folder)
    assert "there is no such file or directory" in capsys.readouterr().err
