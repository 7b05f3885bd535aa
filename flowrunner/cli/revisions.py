"""Flow files of a git revision, ``HEAD~1:flows``: read from the object store, with no checkout and no index."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from flowrunner.errors import FlowrunnerError

_SECONDS = 20.0
_MOST_BYTES = 64 * 2**20
"""What is read at the most: flows, and the files that they name."""
_LINK = "120000"
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


class RevisionError(FlowrunnerError):
    """A git revision cannot be read."""

    def __init__(self, problem: str, help: str) -> None:
        super().__init__(problem)
        self.help = help


class _Entry(msgspec.Struct, frozen=True):
    mode: str
    oid: str
    size: int
    path: str


def unpack(revision: str, folder: Path) -> Path:
    """Write what ``REV:PATH`` stands for into an empty folder and return its place there.

    Raises :class:`RevisionError` without git, outside a repository, and for what the repository does not have.
    """
    oid = _resolve(revision)
    if _git("cat-file", "-t", oid).strip() == b"blob":
        file = folder / (Path(revision.partition(":")[2]).name or "flow.yaml")
        file.write_bytes(_git("cat-file", "blob", oid))
        return file
    entries = list(_entries(_git("ls-tree", "-r", "-z", "-l", "--full-tree", oid)))
    if sum(entry.size for entry in entries) > _MOST_BYTES:
        raise RevisionError(
            f"`{revision}` has more than {_MOST_BYTES >> 20} MiB", "name the folder of the flows"
        )
    for entry, content in zip(entries, _contents(entries), strict=True):
        _write(folder, entry, content)
    return folder


def _resolve(revision: str) -> str:
    rev, _, path = revision.partition(":")
    if _run("rev-parse", "--git-dir").returncode != 0:
        raise RevisionError(f"`{revision}` names a git revision, and this is no git repository", _HELP)
    if _run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{tree}}").returncode != 0:
        help = "`git log` lists revisions; a shallow clone lacks older ones (`git fetch --deepen=1`, fetch-depth: 2)"
        raise RevisionError(f"there is no git revision `{rev}`", help)
    # A path is meant from here, as for other commands: git itself begins at the top of the repository.
    inside = path if path.startswith(("./", "../", "/")) else f"./{path}"
    found = _run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}:{inside if path else ''}")
    if found.returncode != 0 and path:
        found = _run("rev-parse", "--verify", "--quiet", "--end-of-options", revision)
    if found.returncode != 0:
        raise RevisionError(
            f"there is no `{path}` in the git revision `{rev}`", f"`git ls-tree {rev}` lists what is"
        )
    return found.stdout.decode().strip()


def _entries(listing: bytes) -> Iterator[_Entry]:
    for line in listing.split(b"\0"):
        facts, _, path = line.partition(b"\t")
        mode, kind, oid, size = facts.decode().split() if facts else ("", "", "", "")
        if kind == "blob":
            if not size.isdecimal():
                help = "the clone is partial or damaged; `git fetch --refetch` brings what is missing"
                raise RevisionError(f"the git repository lacks `{os.fsdecode(path)}`", help)
            yield _Entry(mode, oid, int(size), os.fsdecode(path))


def _contents(entries: list[_Entry]) -> Iterator[bytes]:
    names = "".join(f"{entry.oid}\n" for entry in entries).encode()
    output = memoryview(_git("cat-file", "--batch", stdin=names))
    at = 0
    for entry in entries:
        at += len(f"{entry.oid} blob {entry.size}\n")
        yield bytes(output[at : at + entry.size])
        at += entry.size + 1


def _write(folder: Path, entry: _Entry, content: bytes) -> None:
    place = folder / entry.path
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode != _LINK:
        place.write_bytes(content)
    elif (place.parent / os.fsdecode(content)).resolve().is_relative_to(folder.resolve()):
        place.symlink_to(os.fsdecode(content))


def _git(*arguments: str, stdin: bytes = b"") -> bytes:
    done = _run(*arguments, stdin=stdin)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RevisionError(f"git {arguments[0]}: {said[0] if said else 'failed'}", _HELP)
    return done.stdout


def _run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={**os.environ, **_QUIET},
        )
    except FileNotFoundError:
        raise RevisionError("git is not installed", _HELP) from None
    except subprocess.TimeoutExpired:
        raise RevisionError(f"git {arguments[0]} takes more than {_SECONDS:g} s", _HELP) from None


_HELP = "name files or directories, or a revision as HEAD~1:flows inside a git repository"
