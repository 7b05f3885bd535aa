"""The scripts of the action `validate-flows`, on real repositories with the real flowrunner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.github.repository import ACTION, Job

GOOD = """\
version: 1
flow: climate
nodes:
  readings: { type: file_in, path: readings.jsonl }
  minutes: { type: aggregate, from: readings, window: { type: tumbling, size: 1m }, fields: { n: count() } }
  log: { type: debug, from: minutes }
"""
WIDER = GOOD.replace("size: 1m", "size: 5m")
BROKEN = GOOD.replace("type: debug", "type: debugg")
UNUSED = GOOD.replace("  log: {", "  idle: { type: filter, from: readings, where: 'true' }\n  log: {")
NO_COMMIT = "0" * 40
FAKE_GH = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$GH_LOG"
for argument; do
  case $argument in
    body=@*) cp "${argument#body=@}" "$GH_LOG.body" ;;
    --paginate) printf '%s' "$GH_FOUND" ;;
  esac
done
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_mistake_annotates_its_line_and_fails_the_job(job: Job) -> None:
    job.commit({"flows/climate.yaml": BROKEN})
    job.clone()

    ran = job.run("validate.sh")

    first = ran.text.splitlines()[0]
    assert ran.code == 78
    assert first.startswith("::error file=flows/climate.yaml,line=6,col=16,")
    assert "debugg" in first
    assert "flows: 1 errors, 0 warnings" in ran.summary


def test_valid_flows_annotate_nothing(job: Job) -> None:
    job.commit({"flows/climate.yaml": GOOD})
    job.clone()

    ran = job.run("validate.sh")

    assert (ran.code, ran.text) == (0, "")
    assert "flows: 0 errors, 0 warnings" in ran.summary


@pytest.mark.parametrize(("strict", "code"), [("false", 0), ("true", 78)])
def test_a_warning_fails_the_job_only_where_it_is_strict(job: Job, strict: str, code: int) -> None:
    job.commit({"flows/climate.yaml": UNUSED})
    job.clone()

    ran = job.run("validate.sh", STRICT=strict)

    assert ran.code == code
    assert "file=flows/climate.yaml" in ran.text


def test_the_plan_compares_with_a_commit_that_the_shallow_clone_lacks(job: Job) -> None:
    base = job.commit({"flows/climate.yaml": GOOD})
    job.commit({"flows/climate.yaml": WIDER})
    job.clone()

    ran = job.run("plan.sh", BASE=base)

    plan = Path(ran.outputs["file"]).read_text()
    assert ran.code == 0, ran.text
    assert "| node | `minutes` | `aggregate` | **state lost** |" in plan
    assert plan in ran.summary


@pytest.mark.parametrize("base", [NO_COMMIT, ""], ids=["first push", "event without a base"])
def test_without_a_base_all_flows_are_new(job: Job, base: str) -> None:
    job.commit({"flows/climate.yaml": GOOD})
    job.clone()

    ran = job.run("plan.sh", BASE=base)

    assert ran.code == 0, ran.text
    assert "### `climate` is new" in ran.summary


def test_flows_in_a_folder_that_the_base_lacks_are_new(job: Job) -> None:
    base = job.commit({"README.md": "# Home\n"})
    job.commit({"our flows/climate.yaml": GOOD})
    job.clone()

    ran = job.run("plan.sh", BASE=base, FLOWS="our flows")

    assert ran.code == 0, ran.text
    assert "### `climate` is new" in ran.summary


def test_a_plan_with_mistakes_is_shown_because_validate_fails_for_them(job: Job) -> None:
    base = job.commit({"flows/climate.yaml": GOOD})
    job.commit({"flows/climate.yaml": BROKEN})
    job.clone()

    ran = job.run("plan.sh", BASE=base)

    assert ran.code == 0, ran.text
    assert "**Not valid: 1 error.**" in ran.summary


def test_a_base_that_nobody_has_fails_the_job_instead_of_showing_a_wrong_plan(job: Job) -> None:
    job.commit({"flows/climate.yaml": GOOD})
    job.clone()

    ran = job.run("plan.sh", BASE="d" * 40)

    assert ran.code != 0
    assert ran.outputs == {}


@pytest.mark.parametrize(
    ("found", "call"),
    [
        pytest.param("", "--method POST repos/me/home/issues/7/comments", id="the first comment"),
        pytest.param("41\n", "--method PATCH repos/me/home/issues/comments/41", id="the comment again"),
        pytest.param("41\n42\n", "--method PATCH repos/me/home/issues/comments/41", id="the first of two"),
    ],
)
def test_a_pull_request_has_one_comment_with_the_newest_plan(job: Job, found: str, call: str) -> None:
    log = _comment(job, "**flowrunner plan** of today\n", found)

    assert call in log.read_text()
    body = (log.parent / "gh.log.body").read_text()
    assert body == "<!-- flowrunner plan of flows -->\n**flowrunner plan** of today\n"


def test_a_comment_is_never_longer_than_github_takes_and_never_ends_within_a_letter(job: Job) -> None:
    log = _comment(job, "ü" * 40_000, "")

    body = (log.parent / "gh.log.body").read_bytes().decode()
    assert len(body) < 65_536
    assert body.endswith("ü\n\nThe rest of the plan stands in the summary of the job.\n")


def test_the_action_runs_each_script_that_lies_beside_it() -> None:
    steps: list[dict[str, Any]] = yaml.safe_load((ACTION / "action.yml").read_text())["runs"]["steps"]

    run = {Path(step["env"]["SCRIPT"]).name for step in steps if "SCRIPT" in step.get("env", {})}

    assert run == {script.name for script in ACTION.glob("*.sh")}


def test_no_step_of_the_action_takes_an_input_as_shell_text() -> None:
    steps: list[dict[str, Any]] = yaml.safe_load((ACTION / "action.yml").read_text())["runs"]["steps"]

    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []


def _comment(job: Job, plan: str, found: str) -> Path:
    """Run the script with a `gh` that writes down what it is called with; return the log."""
    programs = job.folder / "programs"
    programs.mkdir()
    (programs / "gh").write_text(FAKE_GH)
    (programs / "gh").chmod(0o755)
    job.commit({"flows/climate.yaml": GOOD})
    job.clone()
    file, log = job.temp / "plan.md", job.folder / "gh.log"
    file.write_text(plan)
    ran = job.run(
        "comment.sh",
        path=str(programs),
        GH_LOG=str(log),
        GH_FOUND=found,
        GH_REPO="me/home",
        NUMBER="7",
        PLAN=str(file),
    )
    assert ran.code == 0, json.dumps(ran.text)
    return log
