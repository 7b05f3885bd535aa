"""``scripts/release_notes.sh``: what a release says about itself, and when there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "release_notes.sh"
CHANGELOG = """\
# Changelog

## [Unreleased]

- Not yet.

## [1.2.0] - 2026-11-20

### Added

- Something.

## [1.1.9] - 2026-10-01

## [1.1.0] - 2026-09-01

- Older.
"""


@pytest.mark.parametrize(
    ("tag", "version", "code", "expected"),
    [
        pytest.param("v1.2.0", "1.2.0", 0, "\n### Added\n\n- Something.\n", id="the section of the version"),
        pytest.param("v1.1.0", "1.1.0", 0, "\n- Older.\n", id="the last section"),
        pytest.param("v1.2.0", "1.1.0", 1, "it must be v1.1.0", id="another version in pyproject.toml"),
        pytest.param("v1.3.0", "1.3.0", 1, "no section", id="no section"),
        pytest.param("v1.1.9", "1.1.9", 1, "nothing stands in it", id="an empty section"),
        pytest.param("v1.1", "1.1", 1, "no section", id="the beginning of a version"),
    ],
)
def test_the_notes_of_a_tag(tmp_path: Path, tag: str, version: str, code: int, expected: str) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(SCRIPT, tmp_path / "scripts")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "{version}"\n')

    done = subprocess.run([script, tag], capture_output=True, text=True, check=False)

    assert done.returncode == code
    assert expected.strip() in (done.stderr if code else done.stdout)
