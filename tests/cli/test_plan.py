"""``flowrunner plan`` on files, directories and git revisions."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flowrunner.cli import plan as command
from flowrunner.cli import revisions
from flowrunner.cli.main import app

FLOW = """\
version: 1
flow: climate
nodes:
  beat: { type: inject, every: 1s, payload: { celsius: 20.0 } }
  valid: { type: filter, from: beat, where: payload.celsius > 0.0 }
  calm: { type: throttle, from: valid, key: topic, every: 10s }
  minutes: { type: aggregate, from: calm, window: { type: tumbling, size: 1m }, fields: { n: count() } }
  store: { type: file_out, from: minutes, path: out.jsonl }
"""
OTHER = FLOW.replace("flow: climate", "flow: other")
CHANGED = (
    FLOW.replace("celsius > 0.0", "celsius > 1.0")
    .replace("every: 10s", "every: 20s")
    .replace("size: 1m", "size: 2m")
)
BROKEN = FLOW.replace("type: throttle", "type: throtle")


class Result:
    def __init__(self, *arguments: object) -> None:
        result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        self.told: Any = json.loads(self.out) if "json" in arguments else None


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "climate.yaml").write_text(FLOW)
    return old, new


def git(folder: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, env={**os.environ, **who}
    )


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with two commits, and be in it."""
    folder = tmp_path / "repository"
    (folder / "flows" / "deeper").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "flows" / "climate.yaml").write_text(FLOW)
    (folder / "flows" / "deeper" / "ümlaut.yaml").write_text(OTHER)
    (folder / "flows" / "link.yaml").symlink_to("climate.yaml")
    (folder / "flows" / "outside.yaml").symlink_to("/etc/hostname")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    (folder / "flows" / "climate.yaml").write_text(CHANGED)
    (folder / "flows" / "outside.yaml").unlink()
    git(folder, "commit", "-q", "-a", "-m", "two")
    monkeypatch.chdir(folder)
    return folder


def test_text_tells_of_each_flow_and_each_node(sides: tuple[Path, Path]) -> None:
    old, new = sides
    (old / "gone.yaml").write_text(FLOW.replace("climate", "gone"))
    (old / "other.yaml").write_text(OTHER)
    (new / "other.yaml").write_text("# the same\n" + OTHER)
    (new / "climate.yaml").write_text(CHANGED)
    (new / "fresh.yaml").write_text(
        "version: 1\nnodes: { a: { type: inject, every: 1s }, b: { type: debug, from: a } }\n"
    )

    result = Result(old, new)

    assert (0, "") == (result.code, result.err)
    assert (
        result.out
        == """\
flow gone is drained and stopped; its journal and states stay in the state directory
  node        beat     inject     removed
  node        valid    filter     removed
  node        calm     throttle   removed
  node        minutes  aggregate  removed
  node        store    file_out   removed

flow climate changes
  node        beat     inject     keep
  node        valid    filter     restart     `where` changed
  node        calm     throttle   state kept  `every` changed
  node        minutes  aggregate  state lost  `window` changed; its state does not fit the new options
  node        store    file_out   keep

flow fresh is new
  node        a  inject  added
  node        b  debug   added

flow other goes on as it is

4 flows: 1 unchanged, 1 changed, 1 added, 1 removed; 17 nodes: 7 keep, 1 restart, 1 state kept, 1 state lost, 2 added, 5 removed
"""
    )


def test_a_terminal_gets_colors_unless_it_wants_none(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = sides
    (new / "climate.yaml").write_text(CHANGED)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert 0 == command.plan(str(old), str(new), format="text")
    painted = capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert 0 == command.plan(str(old), str(new), format="text")

    plain = capsys.readouterr().out
    assert "\x1b[31mstate lost" in painted
    assert plain == re.sub(r"\x1b\[\d+m", "", painted)
    assert plain != painted


def test_json_has_outcomes_and_reasons(sides: tuple[Path, Path]) -> None:
    old, new = sides
    (new / "climate.yaml").write_text(CHANGED)

    told = Result(old, new, "--format", "json").told

    (flow,) = told["flows"]
    assert (True, [], "climate", "changed") == (
        told["valid"],
        told["diagnostics"],
        flow["flow"],
        flow["outcome"],
    )
    assert {
        "beat": "keep",
        "valid": "restart",
        "calm": "state_kept",
        "minutes": "state_lost",
        "store": "keep",
    } == {node["name"]: node["outcome"] for node in flow["nodes"]}
    assert ["`where` changed"] == flow["nodes"][1]["reasons"]


def test_markdown_has_a_summary_a_table_a_flow_and_folds_what_goes_on(sides: tuple[Path, Path]) -> None:
    old, new = sides
    for folder in (old, new):
        (folder / "other.yaml").write_text(OTHER)
    (new / "climate.yaml").write_text(CHANGED)

    text = Result(old, new, "--format", "markdown").out

    first, *_ = text.splitlines()
    assert first.startswith("**flowrunner plan** — 2 flows: 1 unchanged, 1 changed; 10 nodes: 7 keep")
    assert first.endswith("**1 node loses state**")
    assert (
        "### `climate` changes\n\n| | name | type | outcome | why |\n|---|---|---|---|---|\n| node | `valid`"
        in text
    )
    assert "| **state lost** | `window` changed; its state does not fit the new options |" in text
    assert "<details><summary>2 parts go on as they are</summary>\n\n| | name" in text
    assert "<details><summary>1 flow goes on</summary>\n\n- `other` goes on as it is\n" in text
    assert text.count("<details>") == text.count("</details>") == 2


@pytest.mark.parametrize("format", ["text", "json", "markdown"])
def test_mistakes_in_the_new_files_are_shown_and_the_rest_is_planned(
    format: str, sides: tuple[Path, Path]
) -> None:
    old, new = sides
    (new / "climate.yaml").write_text(BROKEN + "# ``` ends no fence\n")
    (new / "other.yaml").write_text(OTHER)

    result = Result(old, new, "--format", format)

    assert 78 == result.code
    if format == "json":
        assert [False, 6, "FR011"] == [
            result.told["valid"],
            *(result.told["diagnostics"][0][key] for key in ("line", "code")),
        ]
        assert {"climate": "refused", "other": "added"} == {
            f["flow"]: f["outcome"] for f in result.told["flows"]
        }
    else:
        assert f"{new}/climate.yaml:6:17: error[FR011]" in result.out + result.err
        assert "goes on as it is, because of a mistake" in result.out
        assert "other" in result.out
    if format == "markdown":
        assert "**Not valid: 1 error.**" in result.out
        assert "" == result.err


def test_a_fence_is_longer_than_any_in_the_text(sides: tuple[Path, Path]) -> None:
    old, new = sides
    (new / "climate.yaml").write_text(FLOW.replace("type: throttle", 'type: "````"'))

    text = Result(old, new, "--format", "markdown").out

    longest = max(map(len, re.findall("`+", re.sub(r"^`+(text)?$", "", text, flags=re.MULTILINE))))
    assert [longest + 1] * 2 == [len(fence) for fence in re.findall(r"^(`+)(?:text)?$", text, re.MULTILINE)]


def test_mistakes_in_the_old_files_are_a_note(sides: tuple[Path, Path]) -> None:
    old, new = sides
    (old / "climate.yaml").write_text(BROKEN)

    result = Result(old, new, "--format", "json")

    assert 0 == result.code
    assert f"note: `{old}` has 1 error; its flows with mistakes count as not running\n" == result.err
    assert "added" == result.told["flows"][0]["outcome"]


def test_secrets_are_in_no_form(sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    connection = "connections: { b: { type: mqtt, url: 'mqtt://x', username: u, password: '${CANARY}' } }\n"
    nodes = "nodes: { a: { type: mqtt_in, connection: b, topics: [x] }, d: { type: debug, from: a } }\n"
    monkeypatch.setenv("CANARY", "canary-of-plan")
    old, new = sides
    for folder in sides:
        (folder / "climate.yaml").write_text("version: 1\n" + connection + nodes)
    (new / "climate.yaml").write_text(
        "version: 1\n"
        + connection.replace("${CANARY}", "${CANARY}-2").replace("mqtt://x", "mqtt://y")
        + nodes
    )
    for format in ("text", "json", "markdown"):
        result = Result(old, new, "--format", format)
        assert "`password` changed" in result.out
        assert "canary-of-plan" not in result.out + result.err


def test_a_git_revision_is_read_without_a_checkout(repository: Path) -> None:
    before = sorted(repository.rglob("*"))

    result = Result("HEAD~1:flows", "flows", "--format", "json")

    assert 0 == result.code, result.err
    assert {"climate": "changed", "other": "unchanged"} == {
        f["flow"]: f["outcome"] for f in result.told["flows"]
    }
    assert before == sorted(repository.rglob("*"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("HEAD~1:flows/climate.yaml", "HEAD:flows/climate.yaml", id="two files in revisions"),
        pytest.param("HEAD~1:./flows/climate.yaml", "flows/climate.yaml", id="from here"),
        pytest.param("HEAD~1:flows/climate.yaml", "flows/../flows/climate.yaml", id="a file"),
        pytest.param("HEAD~1:", "HEAD:", id="whole trees"),
    ],
)
def test_files_and_trees_of_revisions(old: str, new: str, repository: Path) -> None:
    flows = {f["flow"]: f["outcome"] for f in Result(old, new, "--format", "json").told["flows"]}

    assert "changed" == flows["climate"]


def test_a_path_in_a_revision_is_meant_from_here_or_from_the_top(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / "flows" / "deeper")

    from_here = Result("HEAD:../climate.yaml", "../climate.yaml", "--format", "json").told
    from_top = Result("HEAD:flows/climate.yaml", "../climate.yaml", "--format", "json").told

    assert ["unchanged"] == [flow["outcome"] for flow in from_here["flows"]]
    assert ["unchanged"] == [flow["outcome"] for flow in from_top["flows"]]


def test_mistakes_in_a_revision_are_placed_in_it(repository: Path) -> None:
    (repository / "flows" / "climate.yaml").write_text(BROKEN)
    (repository / "flows" / "again.yaml").write_text(OTHER)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "three")

    result = Result("HEAD~1:flows", "HEAD:flows", "--format", "json")

    found = {
        (each["file"], each["line"], each["code"])
        for each in result.told["diagnostics"]
        if each["severity"] == "error"
    }
    assert 78 == result.code
    assert ("HEAD:flows/climate.yaml", 6, "FR011") in found
    assert ("HEAD:flows/again.yaml", 2, "FR019") in found
    assert "HEAD:flows/deeper/" in result.out
    assert "flowrunner-plan" not in result.out
    assert {"refused"} == {flow["outcome"] for flow in result.told["flows"]}


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        pytest.param("missing.yaml", "there is no file or directory `missing.yaml`", id="no file"),
        pytest.param("HEAD~7:flows", "there is no git revision `HEAD~7`", id="no revision"),
        pytest.param("HEAD:nothing", "there is no `nothing` in the git revision `HEAD`", id="no path"),
        pytest.param("--all:flows", "there is no git revision `--all`", id="an option of git"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(argument: str, error: str, repository: Path) -> None:
    result = Result("--", argument, "flows")

    assert (2, "") == (result.code, result.out)
    assert result.err.startswith(f"error: {error}\n  = help: ")


def test_outside_a_repository_a_revision_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    result = Result("HEAD:flows", "HEAD:flows")

    assert 2 == result.code
    assert "this is no git repository" in result.err


def test_without_git_a_revision_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))

    result = Result("HEAD:flows", "flows")

    assert (2, True) == (result.code, result.err.startswith("error: git is not installed\n"))


def test_a_git_that_hangs_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = repository / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(revisions, "_SECONDS", 0.2)

    result = Result("HEAD:flows", "flows")

    assert (2, True) == (result.code, "takes more than 0.2 s" in result.err)


def test_a_tree_that_is_too_large_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "_MOST_BYTES", 100)

    result = Result("HEAD:flows", "flows")

    assert (2, True) == (result.code, "name the folder of the flows" in result.err)


def test_a_damaged_repository_is_no_traceback(repository: Path) -> None:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD:flows/climate.yaml"], capture_output=True, text=True, check=True
    )
    name = done.stdout.strip()
    (repository / ".git" / "objects" / name[:2] / name[2:]).unlink()

    tree, file = Result("HEAD:flows", "flows"), Result("HEAD:flows/climate.yaml", "flows")

    assert (2, True) == (tree.code, "lacks `climate.yaml`" in tree.err)
    assert (2, True) == (file.code, file.err.startswith("error: git cat-file: "))
