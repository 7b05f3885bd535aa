"""The Dockerfile: what a linter and the rules of this project ask of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.chart import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
RUNTIME = INSTRUCTIONS[max(at for at, line in enumerate(INSTRUCTIONS) if line.startswith("FROM")) :]


def last(instruction: str) -> str:
    """Return the arguments of the last such instruction of the image that is run."""
    return [line for line in RUNTIME if line.startswith(f"{instruction} ")][-1].removeprefix(
        f"{instruction} "
    )


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stdout)


def test_every_stage_begins_at_the_same_digest() -> None:
    bases = [line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM")]

    assert 2 == len(bases)
    assert 1 == len(set(bases))
    assert re.fullmatch(r"python:3\.13\.\d+-slim-trixie@sha256:[0-9a-f]{64}", bases[0])
    assert bases[0].partition("@")[2] in last("LABEL")


def test_dependencies_are_installed_by_hash_and_compile_nothing() -> None:
    (install,) = (line for line in INSTRUCTIONS if "requirements/main.txt" in line and line.startswith("RUN"))

    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(json.loads(install[4:]))


def test_it_runs_as_nobody_and_without_a_shell() -> None:
    assert "65532:65532" == last("USER").strip()
    assert ["flowrunner"] == json.loads(last("ENTRYPOINT"))
    assert ["run", "/etc/flowrunner/flows"] == json.loads(last("CMD"))
    assert [] == [line for line in RUNTIME if line.startswith("RUN")]
    check = last("HEALTHCHECK").partition("CMD ")[2]
    assert ["flowrunner", "health"] == json.loads(check)


def test_it_ends_and_keeps_its_state_as_flowrunner_does() -> None:
    assert "SIGTERM" == last("STOPSIGNAL").strip()
    assert ["/var/lib/flowrunner"] == json.loads(last("VOLUME"))
    assert "FLOWRUNNER_STATE_DIR=/var/lib/flowrunner" in last("ENV")


def test_only_what_is_copied_goes_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    copied = {
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    }

    assert "*" in ignored
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert [] == [source for source in copied if not (ROOT / source).exists()]


def test_the_version_is_that_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None

    assert (
        f"VERSION={version[1]}" == next(line for line in RUNTIME if line.startswith("ARG VERSION")).split()[1]
    )
    assert f'appVersion: "{version[1]}"' in (ROOT / "charts" / "flowrunner" / "Chart.yaml").read_text()
