"""The flow files and the files that they name, read at one moment: what is hashed is what is loaded.

A folder is read through one handle. Where the kubelet keeps the versions of a ConfigMap or a Secret (``..data`` is a
link to the present one) that is the handle of the version, so a swap in between never gives a mixture of two.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from flowrunner.config.files import is_flow_file, missing, without_flows
from flowrunner.diagnostics import Diagnostic

ATTEMPTS = 50
"""How often a folder is read that goes away, or is swapped for another, meanwhile."""
_DATA = "..data"
_REFERENCE = re.compile(rb"\$\{file:([^{}\n]+)\}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Snapshot(msgspec.Struct, frozen=True):
    """Files as they were at one moment; ``None`` for one that cannot be read."""

    files: dict[Path, bytes | None]
    """The flow files, under the path by which they were asked for."""
    named: dict[Path, bytes | None]
    """The files that these name: secrets, certificates."""
    diagnostics: list[Diagnostic]
    """What is wrong with the paths themselves."""

    @property
    def digest(self) -> bytes:
        """A hash over the names and contents of all files."""
        digest = hashlib.sha256()
        for files in (self.files, self.named):
            for path, content in sorted(files.items()):
                digest.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
                digest.update(content or b"")
            digest.update(b"\0\0")
        return digest.digest()


def read_snapshot(paths: Sequence[Path], named: Sequence[Path] = ()) -> Snapshot:
    """Read the flow files at ``paths``, what they name with ``${file:…}``, and the files ``named``."""
    files: dict[Path, bytes | None] = {}
    known: set[tuple[int, int]] = set()
    diagnostics: list[Diagnostic] = []
    for path in paths:
        found = _read_path(path)
        if found is None:
            diagnostics.append(missing(path))
        elif not found and path.is_dir():
            diagnostics.append(without_flows(path))
        for file, (identity, content) in sorted((found or {}).items()):
            if identity is None or identity not in known:
                files[file] = content
            if identity is not None:
                known.add(identity)
    references = [
        file.parent / os.fsdecode(name)
        for file, content in files.items()
        for name in _REFERENCE.findall(content or b"")
    ]
    return Snapshot(files, {path: read_file(path) for path in (*references, *named)}, diagnostics)


def read_file(path: Path) -> bytes | None:
    """Return the content of a file, ``None`` when it cannot be read."""
    found = _read_path(path, any_name=True)
    return next(iter(found.values()))[1] if found else None


type _Found = dict[Path, tuple[tuple[int, int] | None, bytes | None]]
"""Path → device and inode, and the content."""


def _read_path(path: Path, *, any_name: bool = False) -> _Found | None:
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if path.is_dir():
                return {} if any_name else dict(_in_folder(path, path))
            with _opened(path.parent) as folder:
                return {path: _read(path.name, folder)}
        if not os.path.lexists(path):
            return None
    return None


def _in_folder(
    shown: Path, name: Path | str, above: int | None = None
) -> Iterator[tuple[Path, tuple[tuple[int, int] | None, bytes | None]]]:
    """Read the flow files in and below a folder, which is shown as ``shown``."""
    with _opened(name, above) as folder:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for entry in names:
            if entry.startswith("."):
                continue
            if stat.S_ISDIR(os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode):
                yield from _in_folder(shown / entry, entry, folder)
            elif is_flow_file(entry):
                yield shown / entry, _read(entry, folder)


@contextlib.contextmanager
def _opened(name: Path | str, above: int | None = None) -> Iterator[int]:
    """Open a folder, or the present version of what is in it; raise when that is another one in the end."""
    with contextlib.ExitStack() as handles:
        outer = folder = os.open(name, _FOLDER, dir_fd=above)
        handles.callback(os.close, outer)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder = os.open(_DATA, _FOLDER, dir_fd=outer)
            handles.callback(os.close, folder)
        yield folder
        # The kubelet deletes a version once there is another: what was not found in it may have been there.
        if folder != outer and not os.path.samestat(os.fstat(folder), os.stat(_DATA, dir_fd=outer)):
            raise FileNotFoundError(_DATA)


def _read(name: str, folder: int) -> tuple[tuple[int, int] | None, bytes | None]:
    """Return what tells a file from others, and its content. Raises ``FileNotFoundError``."""
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        return None, None
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            return None, None
        return (facts.st_dev, facts.st_ino), file.read()
