"""``flowrunner dashboard``: which files it writes, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowrunner.cli.dashboard import dashboard, read_limits
from flowrunner.dashboards.alerts import Limits

FLOW = """\
version: 1
nodes:
  tick: { type: inject, every: 1s }
  show: { type: debug, from: tick }
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with the flows `climate` and `energy`, in which the command runs."""
    (tmp_path / "flows").mkdir()
    for name in ("climate", "energy"):
        (tmp_path / "flows" / f"{name}.yaml").write_text(FLOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(wanted: str | None, out: Path | None = None, *, check: bool = False) -> int:
    return dashboard(wanted, out=out, language="flux", limits=Limits(), check=check)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(None, ["alerts.yaml", "flowrunner.json"], id="all that run"),
        pytest.param("energy", ["energy.alerts.yaml", "energy.json"], id="a flow by its name"),
        pytest.param("flows/energy.yaml", ["energy.alerts.yaml", "energy.json"], id="a file"),
        pytest.param(
            "flows",
            ["climate.alerts.yaml", "climate.json", "energy.alerts.yaml", "energy.json"],
            id="a directory",
        ),
    ],
)
def test_files_are_written_named_and_up_to_date(
    home: Path, capsys: pytest.CaptureFixture[str], wanted: str | None, expected: list[str]
) -> None:
    out = home / "made" / "here"
    (home / "made").mkdir()

    assert 0 == made(wanted, out)
    assert sorted(f"{out / name}\n" for name in expected) == sorted(
        capsys.readouterr().out.splitlines(keepends=True)
    )
    assert expected == sorted(path.name for path in out.iterdir())
    assert 0 == made(wanted, out, check=True)
    (out / expected[0]).write_text("old")
    assert 1 == made(wanted, out, check=True)
    assert f"not up to date: {out / expected[0]}" in capsys.readouterr().err


def test_other_files_of_the_directory_stay(home: Path) -> None:
    (home / "own.json").write_text("{}")

    assert 0 == made("climate", home)
    assert "{}" == (home / "own.json").read_text()


def test_one_dashboard_is_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == made("climate")
    assert "flowrunner: climate" == json.loads(capsys.readouterr().out)["title"]


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        pytest.param("garden", 2, "there is no file and no flow `garden`", id="no such flow"),
        pytest.param("flows", 2, "there are several flows", id="several to print"),
        pytest.param("broken.yaml", 78, "FR0", id="a mistake"),
        pytest.param("empty", 78, "there is no flow in empty", id="none"),
    ],
)
def test_what_cannot_be_done_is_said(
    home: Path, capsys: pytest.CaptureFixture[str], wanted: str, code: int, words: str
) -> None:
    (home / "broken.yaml").write_text("version: 1\nnodes: { a: { type: nothing } }\n")
    (home / "empty").mkdir()
    (home / "empty" / "connections.yaml").write_text("version: 1\nconnections: {}\n")

    assert code == made(wanted)
    assert words in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "file").write_text("")

    assert 2 == made("climate", home / "file")
    assert f"cannot write into {home / 'file'}: " in capsys.readouterr().err
    assert 2 == made("climate", check=True)


@pytest.mark.parametrize(
    ("lag", "silence", "expected"),
    [
        pytest.param("90s", "90m", Limits(lag=90, silence="1h30m"), id="as PromQL writes them"),
        pytest.param("5", "1h", 2, id="without a unit"),
        pytest.param("5m", "soon", 2, id="no duration"),
        pytest.param("5m", "10ms", 2, id="less than a second"),
    ],
)
def test_limits_are_durations(lag: str, silence: str, expected: Limits | int) -> None:
    assert expected == read_limits(lag, silence)
