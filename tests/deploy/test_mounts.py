"""flowrunner on flows as Kubernetes lays them on disk: by the kubelet, and by git-sync."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.chart import values
from tests.e2e.process import Flowrunner

FLOW = values("minimal")["flows"]["files"]["home.yaml"]
TICKS = """\
version: 1
flow: ticks
delivery: memory
nodes:
  tick: {{ type: inject, every: {every} }}
  show: {{ type: debug, from: tick }}
"""


def mount(folder: Path, version: str, files: dict[str, str]) -> None:
    """Put a version of a ConfigMap into a mounted folder as the kubelet does."""
    data = folder / f"..{version}"
    data.mkdir(parents=True)
    for name, text in files.items():
        (data / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    link(folder / "..data", data.name)


def link(place: Path, target: str) -> None:
    """Point a link to another place in one step."""
    new = place.with_name(f"{place.name}_tmp")
    new.symlink_to(target)
    new.replace(place)


def flowrunner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowrunner", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        pytest.param({}, {"home.yaml": FLOW}, 0, "home", id="the first install"),
        pytest.param({"home.yaml": FLOW}, {"home.yaml": FLOW}, 0, "", id="no change"),
        pytest.param({"home.yaml": FLOW}, {"garden.yaml": FLOW}, 0, "garden", id="another flow"),
        pytest.param(
            {"home.yaml": FLOW}, {"home.yaml": FLOW + "  x: {type: y}\n"}, 78, "home.yaml:", id="a mistake"
        ),
    ],
)
def test_the_check_before_an_upgrade(
    old: dict[str, str], new: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    mount(tmp_path / "old", "1", old)
    mount(tmp_path / "new", "2", new)

    validated, planned = flowrunner(tmp_path, "validate", "new"), flowrunner(tmp_path, "plan", "old", "new")

    assert (code, code) == (validated.returncode, planned.returncode), validated.stderr + planned.stderr
    assert said in planned.stdout + planned.stderr


def generation(process: Flowrunner) -> int:
    status, body = process.get("/api/v1/flows/ticks")
    return int(body["generation"]) if status == 200 else 0


async def test_a_swap_by_the_kubelet_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path, reload_poll="200ms") as process:
        mount(process.flows, "1", {"ticks.yaml": TICKS.format(every="100ms")})
        await process.start()
        before = generation(process)
        mount(process.flows, "2", {"ticks.yaml": TICKS.format(every="200ms")})

        await process.until(lambda: generation(process) > before)


async def test_a_swap_by_git_sync_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    """git-sync keeps checkouts in a hidden folder, and points a link to the present one."""
    for commit, every in (("aaaa", "100ms"), ("bbbb", "200ms")):
        flows = tmp_path / "git" / ".worktrees" / commit / "flows"
        flows.mkdir(parents=True)
        (flows / "ticks.yaml").write_text(TICKS.format(every=every))
    link(tmp_path / "git" / "current", ".worktrees/aaaa")
    async with Flowrunner(tmp_path, reload_poll="200ms") as process:
        process.flows = tmp_path / "git" / "current" / "flows"
        await process.start()
        before = generation(process)
        link(tmp_path / "git" / "current", ".worktrees/bbbb")

        await process.until(lambda: generation(process) > before)
