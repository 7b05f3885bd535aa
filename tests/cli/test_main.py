"""The command line as a whole: help, exit codes, and what becomes of commands that fail."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flowrunner.cli import demo as demo_command
from flowrunner.cli import exits, main
from flowrunner.cli import graph as graph_command
from flowrunner.cli import nodes as nodes_command
from flowrunner.cli import run as run_command
from flowrunner.cli.mode import Mode
from flowrunner.errors import FlowrunnerError
from flowrunner.settings import Settings

ROOT = Path(__file__).parents[2]

VALID = """\
version: 1
nodes:
  tick: { type: inject, every: 1s }
  show: { type: debug, from: tick }
"""

HEAVY = {"rich", "networkx", "fastapi", "structlog", "aiomqtt", "influxdb_client"}


def flowrunner(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowrunner", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run ``main`` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["flowrunner", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    return end.value.code


@pytest.mark.parametrize("arguments", [["--help"], ["validate"], ["--version"]], ids=" ".join)
def test_nothing_heavy_is_imported(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "flow.yaml").write_text(VALID)
    if arguments == ["validate"]:
        arguments = ["validate", str(tmp_path)]
    code = f"""
import sys
sys.argv = ["flowrunner", *{arguments!r}]
from flowrunner.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
print({HEAVY!r} & set(sys.modules), file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "set()\n" == ended.stderr


def test_help_names_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "--help") == 0

    commands = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    names = "run validate test graph plan history nodes schema tap top dashboard doctor demo health import dead-letters"
    assert names.split() == [line.split()[0] for line in commands]


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert f"flowrunner {version('flowrunner-engine')}\n" == flowrunner("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [["validate"], ["frobnicate"], ["validate", "--format", "xml", "."], ["graph", "--nothing", "."], []],
    ids=["no path", "unknown command", "unknown format", "unknown option", "no command"],
)
def test_a_usage_error_ends_with_2(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    assert exits.EX_USAGE == call(monkeypatch, *arguments)


@pytest.mark.parametrize(
    ("text", "code"),
    [(VALID, 0), (VALID.replace("tick }", "tock }"), 78), (None, 2)],
    ids=["valid", "bad", "no file"],
)
def test_validate_says_by_its_exit_code_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, code: int
) -> None:
    path = tmp_path / "flow.yaml"
    if text is not None:
        path.write_text(text)

    assert code == call(monkeypatch, "validate", str(path))


def test_settings_on_the_command_line_are_given_to_run_and_only_those(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    got: list[Any] = []

    def note(paths: list[Path], given: dict[str, Any], *, mode: Mode) -> int:
        got.append((paths, given, mode))
        return 0

    monkeypatch.setattr(run_command, "run", note)

    assert call(monkeypatch, "run", "flows", "--http-port", "0", "--checkpoint-every", "5s", "--once") == 0
    assert [([Path("flows")], {"http_port": 0, "checkpoint_every": "5s"}, Mode(once=True))] == got


def test_settings_on_the_command_line_are_given_to_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[dict[str, Any]] = []

    def note(given: dict[str, Any]) -> int:
        got.append(given)
        return 0

    monkeypatch.setattr(demo_command, "demo", note)

    assert call(monkeypatch, "demo", "--http-host", "::1") == 0
    assert [{"http_host": "::1"}] == got


def test_every_setting_without_a_secret_is_an_option_of_run_with_its_default() -> None:
    help = " ".join(CliRunner().invoke(main.app, ["run", "--help"], env={"COLUMNS": "200"}).stdout.split())

    for name, field in Settings.model_fields.items():
        if name in ("api_token", "catalog_url"):
            assert f"FLOWRUNNER_{name.upper()}" in help
        else:
            assert f"--{name.replace('_', '-')} " in help
            assert str(field.description) in help
            assert f"[default: {field.default}]" in help


def test_an_expected_error_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(type: str | None) -> int:
        raise FlowrunnerError(f"no {type}")

    monkeypatch.setattr(nodes_command, "nodes", fail)

    assert call(monkeypatch, "nodes", "x") == 1
    assert "error: no x\n" == capsys.readouterr().err


def test_an_unexpected_error_is_no_traceback_unless_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(graph_command, "graph", fail)
    monkeypatch.delenv("FLOWRUNNER_DEBUG", raising=False)

    assert exits.EX_SOFTWARE == call(monkeypatch, "graph", ".")
    assert capsys.readouterr().err.startswith(
        "error: internal: ZeroDivisionError: by zero\n  = help: this is a bug"
    )
    monkeypatch.setenv("FLOWRUNNER_DEBUG", "1")
    assert exits.EX_SOFTWARE == call(monkeypatch, "graph", ".")
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["schema", "nodes"], ids=["while it writes", "when it ends"])
def test_a_reader_that_goes_away_is_no_error(command: str) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "flowrunner", command],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)

    assert "" == ended.stderr


def test_what_nobody_reads_at_the_end_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)

        assert call(monkeypatch, "nodes") == 0


def test_ctrl_c_ends_without_a_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "flow.yaml"
    os.mkfifo(fifo)  # validate waits for a writer, so the signal meets it at work
    process = subprocess.Popen(
        [sys.executable, "-m", "flowrunner", "validate", str(fifo)], stderr=subprocess.PIPE, text=True
    )
    with fifo.open("w"):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)

    assert (130, "") == (process.returncode, errors)
