"""The workflows: what the linters say, and rules that they do not know."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import blocks, rows

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
EXAMPLES = sorted((ROOT / "examples").rglob(".github/workflows/*.yml"))
USES = re.compile(r"^\s*(?:- )?uses: (\S+)(?: # (.*))?$", re.MULTILINE)
PINNED = re.compile(r"[\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40}")


def _run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    bin = Path(sys.executable).parent
    path = os.pathsep.join([str(bin), os.environ["PATH"]])  # where actionlint looks for shellcheck
    return subprocess.run(
        [bin / program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    return loaded


def _uses(path: Path) -> list[tuple[str, str]]:
    return [(action, comment) for action, comment in USES.findall(path.read_text()) if action[0] != "."]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["actionlint", *WORKFLOWS, *EXAMPLES], id="actionlint"),
        pytest.param(["zizmor", "--offline", "--quiet", GITHUB], id="zizmor"),
        pytest.param(
            ["check-jsonschema", "--builtin-schema", "vendor.github-actions", *ACTIONS],
            id="schema of actions",
        ),
        pytest.param(
            ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS, *EXAMPLES],
            id="schema of workflows",
        ),
        pytest.param(
            ["check-jsonschema", "--builtin-schema", "vendor.dependabot", GITHUB / "dependabot.yml"],
            id="schema of dependabot",
        ),
    ],
)
def test_a_linter_has_nothing_to_say(command: list[object]) -> None:
    done = _run(str(command[0]), *command[1:])

    assert done.returncode == 0, done.stdout


def test_actionlint_and_zizmor_find_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / ".github" / "workflows" / "bad.yml"
    bad.parent.mkdir(parents=True)
    bad.write_text(
        "name: bad\non: pull_request\npermissions: {}\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n"
        '      - uses: actions/checkout@v6\n      - run: echo "${{ github.event.pull_request.title }}"\n'
        "      - run: echo ${{ steps.none.outputs.x }}\n"
    )

    found = [_run("actionlint", bad), _run("zizmor", "--offline", "--quiet", tmp_path)]

    assert all(done.returncode for done in found)
    assert 'property "none" is not defined' in found[0].stdout
    assert "unpinned-uses" in found[1].stdout
    assert "template-injection" in found[1].stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=_ids)
def test_an_action_of_others_is_pinned_by_its_commit_and_tells_the_version(path: Path) -> None:
    loose = [
        f"{action} # {comment}"
        for action, comment in _uses(path)
        if not (PINNED.fullmatch(action) and re.match(r"v\d+\.\d+\.\d+$", comment))
    ]

    assert loose == []


def test_an_action_has_one_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in [*WORKFLOWS, *ACTIONS, *EXAMPLES]:
        for action, comment in _uses(path):  # also @COMMIT, which a user fills in
            versions.setdefault(action.split("@")[0], set()).add(f"{action.split('@')[1]} {comment}")

    assert {action: found for action, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", [*WORKFLOWS, *EXAMPLES], ids=_ids)
def test_a_workflow_grants_nothing_and_a_job_what_it_needs(path: Path) -> None:
    workflow = _load(path)

    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert set(job) >= {"permissions", "timeout-minutes"}, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=_ids)
def test_no_write_permission_where_the_code_of_a_pull_request_runs(path: Path) -> None:
    workflow = _load(path)
    if "pull_request" not in workflow["on"]:
        assert "tags" in workflow["on"]["push"]
        return
    kept = (
        {"pull-requests"} if path.stem == "flows" else set()
    )  # its comment; a fork's token cannot even that
    for job in workflow["jobs"].values():
        if "if" not in job:
            written = {right for right, level in job["permissions"].items() if level == "write"}
            assert written <= kept


@pytest.mark.parametrize("path", [*WORKFLOWS, *EXAMPLES], ids=_ids)
def test_a_checkout_leaves_no_token_behind(path: Path) -> None:
    steps = [step for job in _load(path)["jobs"].values() for step in job["steps"]]

    for step in steps:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


def test_what_a_job_runs_is_there() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    named = set(re.findall(r"\b((?:scripts|tests|charts|terraform)/[\w/.-]*\w)", text))

    assert "scripts/release_notes.sh" in named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_example_of_the_page_is_the_one_in_the_repository_to_copy() -> None:
    page = next(block for block in blocks(ROOT / "docs" / "ci-for-your-flows.md", "yaml"))
    example = ROOT / "examples" / "flows-repository" / ".github" / "workflows" / "flows.yml"

    assert yaml.load(page.text, Loader=yaml.BaseLoader) == _load(example)


def test_the_flows_of_the_example_are_valid_and_pass_their_tests() -> None:
    folder = ROOT / "examples" / "flows-repository" / "flows"

    validated, tested = _run("flowrunner", "validate", "--strict", folder), _run("flowrunner", "test", folder)

    assert (validated.returncode, tested.returncode) == (0, 0), validated.stdout + tested.stdout
    assert "1 passed" in tested.stdout


def test_the_page_names_every_input_of_the_action_with_its_default() -> None:
    named = {row[0].strip("`") for row in rows((ROOT / "docs" / "ci-for-your-flows.md").read_text())}

    assert named == set(_load(ACTIONS[0])["inputs"])
