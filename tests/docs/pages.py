"""The Markdown pages of the repository, and what stands in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
FLOWS = ROOT / "flows"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BY_HAND = [page for page in PAGES if page.parent.name not in ("diagnostics", "nodes")]
"""Diagnostics show mistakes and have tests of their own; the reference pages are generated."""
TABLE_ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)
_FENCE = re.compile(r"^```(\w*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(msgspec.Struct, frozen=True):
    """A fence: its language, the words behind it, and the text within."""

    language: str
    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block shows."""
        return next((word for word in self.words if "." in word), None)


def name(path: Path) -> str:
    """Return how a page is called in test ids."""
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fences of a page, of one language or all."""
    found = [
        Block(kind, tuple(words.split()), text) for kind, words, text in _FENCE.findall(page.read_text())
    ]
    return [block for block in found if language in (None, block.language)]


def prose(page: Path) -> str:
    """Return a page without its fences."""
    return _FENCE.sub("", page.read_text())


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows, headings and rulers left out."""
    found = [[cell.strip() for cell in line.split("|")] for line in TABLE_ROW.findall(text)]
    return [
        row
        for row, after in zip(found, [*found[1:], [""]], strict=True)
        if not {"-"} & {row[0][:1], after[0][:1]}
    ]


def section(page: Path, heading: str) -> str:
    """Return the text under a heading, up to the next of its level or a higher one."""
    level = len(heading) - len(heading.lstrip("#"))
    start = page.read_text().split(f"{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{level}}} ", start, maxsplit=1, flags=re.MULTILINE)[0]


def folder_of(page: Path, folder: Path) -> Path:
    """Make what the commands of a page need: the files that it shows, and the example flows."""
    shutil.copytree(FLOWS, folder / "flows")
    for block in blocks(page):
        if block.file is not None:
            (folder / block.file).write_text(block.text)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with flowrunner on the path; standard error goes with standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "FLOWRUNNER_HTTP_PORT": "0", "COLUMNS": "80"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
