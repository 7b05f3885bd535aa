"""The last version of each flow file that was without mistakes, kept for a start with files that have some.

What is kept is the text as it stands in the file: variables are not put in, so no secret comes with it. A file in
which a secret is written out is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec

from flowrunner.config.snapshot import Snapshot
from flowrunner.context import Logger
from flowrunner.graph.load import Loaded

_LITERAL_SECRET = "FR052"  # noqa: S105  # a diagnostic


class _Kept(msgspec.Struct):
    file: str
    text: str


class LastGood:
    """A folder with a file for each flow file."""

    def __init__(self, folder: Path, log: Logger) -> None:
        self._folder = folder
        self._log = log
        self._written: dict[Path, bytes] = {}

    def keep(self, snapshot: Snapshot, loaded: Loaded) -> None:
        """Keep the files without mistakes, and forget those that are gone. A disk that fails is no reason to fail."""
        bad = _files_with(loaded, "error") | {
            Path(found.file) for found in loaded.diagnostics if found.code == _LITERAL_SECRET
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path, content in snapshot.files.items():
                if content is not None and path not in bad and self._written.get(path) != content:
                    self._write(path, content)
                    self._written[path] = content
            if not snapshot.diagnostics:
                for path in self._paths().keys() - snapshot.files.keys():
                    self._place(path).unlink()
        except OSError as error:
            self._log.warning("the last good flows cannot be kept", error=str(error))

    def mended(self, snapshot: Snapshot, loaded: Loaded) -> Snapshot | None:
        """Return the snapshot with the last good version of each file that has a mistake or cannot be found.

        ``None`` when there is none of any of them.
        """
        kept = self._paths()
        gone = [Path(found.file) for found in snapshot.diagnostics]
        wanted = _files_with(loaded, "error") | {
            path for path in kept for folder in gone if path.is_relative_to(folder)
        }
        files = {path: kept[path] for path in wanted if path in kept}
        if not files:
            return None
        diagnostics = [found for found in snapshot.diagnostics if not _below(Path(found.file), files)]
        return Snapshot({**snapshot.files, **files}, snapshot.named, diagnostics)

    def _paths(self) -> dict[Path, bytes]:
        found = {}
        for file in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
                found[Path(kept.file)] = kept.text.encode()
        return found

    def _write(self, path: Path, content: bytes) -> None:
        place = self._place(path)
        draft = place.with_suffix(".new")
        with open(draft, "wb", opener=_for_us_only) as file:
            file.write(msgspec.json.encode(_Kept(str(path), content.decode())))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)

    def _place(self, path: Path) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _files_with(loaded: Loaded, severity: str) -> set[Path]:
    return {Path(found.file) for found in loaded.diagnostics if found.severity == severity}


def _below(folder: Path, files: dict[Path, bytes]) -> bool:
    return any(path.is_relative_to(folder) for path in files)


def _for_us_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
