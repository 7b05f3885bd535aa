"""A repository of flows as a job of GitHub has it, and the scripts of the action, run as the runner runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

ACTION = Path(__file__).parents[2] / ".github" / "actions" / "validate-flows"
FLOWRUNNER = Path(sys.executable).with_name("flowrunner")


class Ran(msgspec.Struct, frozen=True):
    """What a script ended with, printed, and wrote into the files that GitHub reads."""

    code: int
    text: str
    summary: str
    outputs: dict[str, str]


class Job:
    """A clone, one commit deep, of a repository; and the folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        """Make an empty repository to clone from."""
        self.folder = folder
        self.origin = folder / "origin"
        self.checkout = folder / "checkout"
        self.temp = folder / "temp"
        self.temp.mkdir()
        self._git(folder, "init", "--quiet", "--initial-branch=main", str(self.origin))

    def commit(self, files: Mapping[str, str]) -> str:
        """Commit exactly these files, and return the hash."""
        subprocess.run(["git", "rm", "-rq", "--ignore-unmatch", "."], cwd=self.origin, check=True)
        for name, text in files.items():
            path = self.origin / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._git(self.origin, "add", "--all")
        self._git(self.origin, "commit", "--quiet", "--message=change flows")
        return self._git(self.origin, "rev-parse", "HEAD")

    def clone(self) -> None:
        """Check the last commit out as actions/checkout does: without its history."""
        source = self.origin.as_uri()
        self._git(self.folder, "clone", "--quiet", "--depth=1", source, str(self.checkout))

    def run(self, script: str, path: str = "", **environment: str) -> Ran:
        """Run a script of the action; `path` goes before the programs of the system."""
        summary, outputs = self.temp / "summary", self.temp / "outputs"
        summary.write_text("")
        outputs.write_text("")
        done = subprocess.run(
            [ACTION / script],
            cwd=self.checkout,
            env={
                "PATH": os.pathsep.join([path, os.environ["PATH"]]) if path else os.environ["PATH"],
                "HOME": str(self.folder),
                "FLOWRUNNER": str(FLOWRUNNER),
                "FLOWS": "flows",
                "STRICT": "false",
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_STEP_SUMMARY": str(summary),
                "GITHUB_OUTPUT": str(outputs),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return Ran(done.returncode, done.stdout, summary.read_text(), found)

    def _git(self, folder: Path, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()
